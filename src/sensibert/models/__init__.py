"""Backbones, their anatomy, and the slim models a mask gives."""
