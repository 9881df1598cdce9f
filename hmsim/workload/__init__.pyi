from hmsim.config.workload import WorkloadSpec as WorkloadSpec
from hmsim.workload.iterate import Step as Step
from hmsim.workload.open import open_workload as open_workload
from hmsim.workload.statistics import measure as measure
from hmsim.workload.steps import Geometry as Geometry
from hmsim.workload.steps import Steps as Steps
from hmsim.workload.steps import Workload as Workload
from hmsim.workload.warmup import Counted as Counted
