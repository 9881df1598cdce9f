"""How property tests run where nobody says otherwise."""

from hypothesis import settings

# A busy machine is no fault of the code: no test fails by how long an example takes.
settings.register_profile("untimed", deadline=None)
if settings.get_current_profile_name() == "default":
    settings.load_profile("untimed")
