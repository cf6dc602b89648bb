"""The errors that a user can mend. Each message says what is wrong, what was got and what to do."""


class AdbenchError(Exception):
    """Something that the user can mend; every other error of adbench is one of these."""


class DataError(AdbenchError):
    """An image, a mask or a folder that cannot be used; it ends its category, not the run."""


class MemoryShortError(AdbenchError):
    """What a computation needs is more than the memory, or that of the device, has free."""


class NotFittedError(AdbenchError):
    """``score`` was called before ``fit``."""


class ImpossibleError(AdbenchError):
    """A setting that these features cannot have, such as more dimensions than channels."""
