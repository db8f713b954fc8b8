import torch

from sensibert.training.distillation import distilled_loss


def test_the_distilled_loss_is_hintons():
    torch.manual_seed(0)
    logits, answers, loss = torch.randn(4, 3), torch.randn(4, 3), torch.tensor(0.7)
    soft = (answers / 2).softmax(-1)
    expected = 4 * (soft * (soft.log() - (logits / 2).log_softmax(-1))).sum(-1).mean()
    torch.testing.assert_close(distilled_loss(loss, logits, answers, 2.0, 1.0), expected)
    torch.testing.assert_close(distilled_loss(loss, logits, answers, 2.0, 0.25), 0.75 * loss + 0.25 * expected)
    torch.testing.assert_close(distilled_loss(loss, logits, logits, 2.0, 1.0), torch.tensor(0.0), atol=1e-6, rtol=0)
    numbers, wanted = torch.randn(4, 1), torch.randn(4, 1)
    torch.testing.assert_close(distilled_loss(loss, numbers, wanted, 2.0, 1.0), (numbers - wanted).square().mean())
