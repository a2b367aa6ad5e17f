"""What is wrong with a training run, in words: `recording.diagnose()`.

`RULES` has the default rules, by name, in the order of causes. Each is a frozen
dataclass, whose fields are its thresholds: `DeadUnits(min_records=20)`. To write your
own, subclass `Rule`. A finding that follows from another one is folded under it.

Needs no Keras; a recording on disk is read in blocks.
"""

from hrcallbacks.diagnose.alike_rules import IdenticalUnits, SilentOutputs
from hrcallbacks.diagnose.diagnosis import RULES, Watch, diagnose
from hrcallbacks.diagnose.findings import Finding, Findings
from hrcallbacks.diagnose.gradient_rules import Exploding, Vanishing
from hrcallbacks.diagnose.idle_rules import Frozen, SaturatedLayer, UntouchedRows
from hrcallbacks.diagnose.origin_rules import NanOrigin
from hrcallbacks.diagnose.outlier_rules import NotFinite, OneBatch, UndefinedLoss
from hrcallbacks.diagnose.progress_rules import (
    MetricStuck,
    NegativeLoss,
    NoProgress,
    Overfits,
    Regularization,
)
from hrcallbacks.diagnose.rules import CannotLook, Rule
from hrcallbacks.diagnose.start_rules import InitialWeights, InputScale
from hrcallbacks.diagnose.structure_rules import (
    FrozenShare,
    HiddenActivations,
    OutputActivation,
    OutputRange,
)
from hrcallbacks.diagnose.survey import Survey
from hrcallbacks.diagnose.target_rules import Targets
from hrcallbacks.diagnose.training_rules import LossRises, UpdateSize
from hrcallbacks.diagnose.unit_rules import DeadUnits, SaturatedUnits

__all__ = [
    "RULES",
    "CannotLook",
    "DeadUnits",
    "Exploding",
    "Finding",
    "Findings",
    "Frozen",
    "FrozenShare",
    "HiddenActivations",
    "IdenticalUnits",
    "InitialWeights",
    "InputScale",
    "LossRises",
    "MetricStuck",
    "NanOrigin",
    "NegativeLoss",
    "NoProgress",
    "NotFinite",
    "OneBatch",
    "OutputActivation",
    "OutputRange",
    "Overfits",
    "Regularization",
    "Rule",
    "SaturatedLayer",
    "SaturatedUnits",
    "SilentOutputs",
    "Survey",
    "Targets",
    "UndefinedLoss",
    "UntouchedRows",
    "UpdateSize",
    "Vanishing",
    "Watch",
    "diagnose",
]
