"""A program that a strict type checker has to refuse, at each line that says so. It is checked, not run."""

import xaynet_sdk

print(xaynet_sdk.spawn_partcipant)  # mistake
xaynet_sdk.anything()  # mistake
print(xaynet_sdk.Layuot)  # mistake
print(xaynet_sdk.simulate, xaynet_sdk.aio.connect, xaynet_sdk.protocol.Tick)
print(xaynet_sdk.SimulationError, xaynet_sdk.__version__)
