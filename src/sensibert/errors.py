"""The errors a user can cause; every other exception is a bug of ours.

The command line and the pipeline scripts print such an error as one message without a traceback
and exit with a code other than 0.
"""


class SensibertError(Exception):
    """Something in the user's hands is wrong; the message names it and says what is allowed."""


class ParamsError(SensibertError):
    """A value in params.yaml is unknown, missing or out of range."""


class DataError(SensibertError):
    """A data set is missing, unreadable or not of the expected shape."""


class BackboneError(SensibertError):
    """A backbone cannot be found, verified or pruned."""


class MaskError(SensibertError):
    """A mask cannot be made under the budget, or does not fit the model."""


class ArtifactError(SensibertError):
    """A file that another stage should have written is missing or damaged."""
