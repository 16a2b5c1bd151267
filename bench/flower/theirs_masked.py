import numpy as np
from flwr.app import Context
from flwr.client import ClientApp, NumPyClient
from flwr.client.mod import secaggplus_mod
from flwr.common import ndarrays_to_parameters
from flwr.server import Grid, LegacyContext, ServerApp, ServerConfig
from flwr.server.strategy import FedAvg
from flwr.server.workflow import DefaultWorkflow, SecAggPlusWorkflow
from flwr.simulation import run_simulation
from report import report
from task import CLIENTS, LENGTH, ROUNDS, accuracy, data, trained


class Client(NumPyClient):
    def __init__(self, number):
        self.images, self.labels = data(number)

    def fit(self, parameters, config):
        return [trained(parameters[0], self.images, self.labels)], len(self.images), {}


def client_fn(context: Context):
    return Client(int(context.node_config["partition-id"])).to_client()


def evaluate(number, parameters, config):
    found = accuracy(parameters[0])
    if number > 0:
        report(found)
    return 0.0, {"accuracy": found}


client_app = ClientApp(client_fn=client_fn, mods=[secaggplus_mod])
server_app = ServerApp()


@server_app.main()
def main(grid: Grid, context: Context) -> None:
    strategy = FedAvg(
        fraction_evaluate=0.0,
        evaluate_fn=evaluate,
        initial_parameters=ndarrays_to_parameters([np.zeros(LENGTH, dtype=np.float32)]),
    )
    legacy = LegacyContext(context=context, config=ServerConfig(ROUNDS), strategy=strategy)
    fit = SecAggPlusWorkflow(num_shares=3, reconstruction_threshold=2)
    DefaultWorkflow(fit_workflow=fit)(grid, legacy)


run_simulation(
    server_app=server_app,
    client_app=client_app,
    num_supernodes=CLIENTS,
    backend_config={"client_resources": {"num_cpus": 1}},
)
