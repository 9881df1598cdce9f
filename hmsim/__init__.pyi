from hmsim import bound as bound
from hmsim import plot as plot
from hmsim.api import Result as Result
from hmsim.api import open_sweep as open_sweep
from hmsim.api import run as run
from hmsim.api import run_sweep as run_sweep
from hmsim.memory.address_trace import replay_trace as replay_trace
from hmsim.memory.device import Memory as Memory
from hmsim.memory.device import MemoryConfig as MemoryConfig
from hmsim.memory.superchip import Superchip as Superchip
from hmsim.placement.policies.api import Policy as Policy
from hmsim.placement.step import policy_step as policy_step
from hmsim.workload.iterate import steps as steps
from hmsim.workload.open import open_workload as open_workload

__version__: str
