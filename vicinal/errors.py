"""Every error and warning that vicinal raises.

VicinalError
├── ModelNotFound          (FileNotFoundError)  no place has the model; lists each place and each way to get it
├── HubError               (OSError)            the hub could not be asked for its list, or did not answer as one
├── DamagedModel           (ValueError)         a model file cannot be read, or does not fit its configuration
├── UnsupportedModel       (ValueError)         understood, but not something this backend can run faithfully
├── UnsafeModel            (ValueError)         a model folder asks for code, or for files outside itself
├── Unavailable            (ValueError)         a wished backend, device or dtype is not to be had here
├── MissingExtra           (ImportError)        an optional dependency is needed; says what to install
├── NotOffered             (ImportError)        sentence-transformers has it, vicinal has not; says what to use instead
├── InvalidInput           (TypeError)          a text is not a text; names row and type
├── InvalidData            (ValueError)         data to train on or evaluate with is not as it must be; says where
├── DataNotFound           (FileNotFoundError)  no data set is there, or it cannot be reached; says what was looked for
├── PublishingFailed       (OSError)            the hub did not take a model; says why, and what to do
├── TextTooLong            (ValueError)         truncation="error" and a text exceeds the model's length
├── DimensionMismatch      (ValueError)         vectors whose lengths differ were compared
├── WorkerDied             (RuntimeError)       a process of a pool ended before it gave its results
├── NonFiniteEmbedding     (ArithmeticError)    a vector holds nan or infinity; names the rows
├── SpaceMismatch          (ValueError)         vectors of two embedding spaces were mixed; names both
├── CacheError             (OSError)            an embedding cache cannot be opened, read or written
├── VectorsNotFound        (FileNotFoundError)  there are no vectors at a path, or not all of them yet
├── DamagedVectors         (ValueError)         a file of saved vectors is not as it was written
├── SourceChanged          (ValueError)         vectors were begun from other texts, or with other settings
├── FolderBusy             (BlockingIOError)    another process is writing into the same folder
├── IndexNotFound          (FileNotFoundError)  there is no index at a path
├── IndexExists            (FileExistsError)    something is there already, where an index would be made
├── IndexBusy              (TimeoutError)       another process is writing to the index, and goes on
├── DamagedIndex           (ValueError)         a file of an index is not as it was written; says what to do
├── DuplicateId            (ValueError)         a document of that id is there already, or given twice
└── InvalidFilter          (ValueError)         a `where` that says nothing that can be looked for

VicinalWarning (UserWarning)
├── TruncationWarning      texts were cut to the model's length; names rows and lengths
├── PromptWarning          a prompt was supplied, or two were given and one was ignored
├── ZeroVectorWarning      a vector is all zero, so that its similarity with anything is 0
├── ModelWarning           something about a model folder that its user should know
├── EvaluationWarning      a metric has no value on this data
├── TrainingWarning        a setting of the training that does not do what it seems to
├── CacheWarning           an embedding cache is out of order; the result is the same without it
└── IndexWarning           something about an index that its user should know, such as repaired damage
"""

from __future__ import annotations


class VicinalError(Exception):
    """The base of every error that vicinal raises on purpose."""


class ModelNotFound(VicinalError, FileNotFoundError):
    """No place that was looked at has the model."""

    def __str__(self) -> str:  # FileNotFoundError would show errno and file name
        return str(self.args[0]) if self.args else ""


class HubError(VicinalError, OSError):
    """The hub could not be asked, or did not answer like a hub."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class DamagedModel(VicinalError, ValueError):
    """A model file cannot be read, is incomplete, or does not fit its configuration."""


class UnsupportedModel(VicinalError, ValueError):
    """The model is understood but cannot be run faithfully; the message says what can be done."""


class UnsafeModel(VicinalError, ValueError):
    """A model folder asks for code to be run, or for files outside itself."""


class Unavailable(VicinalError, ValueError):
    """The backend, device or dtype that was asked for is not available here."""


class MissingExtra(VicinalError, ImportError):
    """An optional dependency is not installed."""


class NotOffered(VicinalError, ImportError):
    """A name of sentence-transformers that is not here; the message says what to use instead."""


class InvalidInput(VicinalError, TypeError):
    """Something that is not a text was given as one."""


class InvalidData(VicinalError, ValueError):
    """Data to train on or to evaluate with is not as it must be."""


class DataNotFound(VicinalError, FileNotFoundError):
    """A data set is not where it was looked for, or cannot be reached."""

    def __str__(self) -> str:  # FileNotFoundError would show errno and file name
        return str(self.args[0]) if self.args else ""


class PublishingFailed(VicinalError, OSError):
    """The hub did not take a model."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class TextTooLong(VicinalError, ValueError):
    """A text exceeds the model's length and truncation="error" was asked for."""


class DimensionMismatch(VicinalError, ValueError):
    """Vectors of different lengths were compared."""


class NonFiniteEmbedding(VicinalError, ArithmeticError):
    """The model produced nan or infinity."""


class WorkerDied(VicinalError, RuntimeError):
    """A process of a pool ended before it gave its results."""


class SpaceMismatch(VicinalError, ValueError):
    """Vectors of two embedding spaces were mixed."""


class CacheError(VicinalError, OSError):
    """An embedding cache cannot be opened, read or written."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class VectorsNotFound(VicinalError, FileNotFoundError):
    """There are no vectors at a path, or not all of them yet."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class DamagedVectors(VicinalError, ValueError):
    """A file of saved vectors is not as it was written."""


class SourceChanged(VicinalError, ValueError):
    """Vectors of a folder were begun from other texts, or with other settings."""


class FolderBusy(VicinalError, BlockingIOError):
    """Another process is writing into the same folder."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class IndexNotFound(VicinalError, FileNotFoundError):
    """There is no index at a path."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class IndexExists(VicinalError, FileExistsError):
    """An index, or something else, is where a new index should be made."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class IndexBusy(VicinalError, TimeoutError):
    """Another process, or another thread, is writing to the index."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class DamagedIndex(VicinalError, ValueError):
    """A file of an index is not as it was written."""


class DuplicateId(VicinalError, ValueError):
    """A document of that id is in the index already, or given twice."""


class InvalidFilter(VicinalError, ValueError):
    """A filter that cannot be understood."""


class VicinalWarning(UserWarning):
    """The base of every warning that vicinal gives."""


class TruncationWarning(VicinalWarning):
    """Texts were cut to the model's length."""


class PromptWarning(VicinalWarning):
    """A prompt was supplied from a table, or one of two was ignored."""


class ZeroVectorWarning(VicinalWarning):
    """A vector is all zero."""


class ModelWarning(VicinalWarning):
    """Something about a model folder that its user should know."""


class EvaluationWarning(VicinalWarning):
    """A metric has no value on this data."""


class TrainingWarning(VicinalWarning):
    """A setting of the training does not do what it seems to."""


class CacheWarning(VicinalWarning):
    """An embedding cache is out of order; vectors are computed as if there were none."""


class IndexWarning(VicinalWarning):
    """Something about an index that its user should know."""
