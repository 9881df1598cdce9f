from hmsim.config.memory import load_memory as load_memory
from hmsim.config.system import load_system as load_system
from hmsim.memory.address_trace import replay_trace as replay_trace
from hmsim.memory.device import Extents as Extents
from hmsim.memory.device import Memory as Memory
from hmsim.memory.device import MemoryConfig as MemoryConfig
from hmsim.memory.superchip import StepTiming as StepTiming
from hmsim.memory.superchip import Superchip as Superchip
