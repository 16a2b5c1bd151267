import numpy as np
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from flwr.simulation import run_simulation
from report import report
from task import CLIENTS, LENGTH, ROUNDS, accuracy, data, trained

client_app = ClientApp()
server_app = ServerApp()


@client_app.train()
def train(message: Message, context: Context) -> Message:
    images, labels = data(int(context.node_config["partition-id"]))
    (model,) = message.content["arrays"].to_numpy_ndarrays()
    content = {
        "arrays": ArrayRecord([trained(model, images, labels)]),
        "metrics": MetricRecord({"num-examples": len(images)}),
    }
    return Message(content=RecordDict(content), reply_to=message)


def evaluate(number: int, arrays: ArrayRecord) -> MetricRecord:
    (model,) = arrays.to_numpy_ndarrays()
    found = accuracy(model)
    if number > 0:
        report(found)
    return MetricRecord({"accuracy": found})


@server_app.main()
def main(grid: Grid, context: Context) -> None:
    strategy = FedAvg(fraction_evaluate=0.0)
    begin = ArrayRecord([np.zeros(LENGTH, dtype=np.float32)])
    strategy.start(grid=grid, initial_arrays=begin, num_rounds=ROUNDS, evaluate_fn=evaluate)


run_simulation(
    server_app=server_app,
    client_app=client_app,
    num_supernodes=CLIENTS,
    backend_config={"client_resources": {"num_cpus": 1}},
)
