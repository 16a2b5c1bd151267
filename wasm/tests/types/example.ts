// Checked by `npm run types`: what users write compiles, and what is wrong does not.

import { BugError, Machine, Participant, ParticipantError, TrainError, loadModule } from "pet-participant";
import type { Output, Round, Weights } from "pet-participant";

async function take(signal: AbortSignal): Promise<Uint8Array> {
  const participant = await Participant.create({
    url: "https://pet.example.org",
    scalar: [1, 3],
    headers: { Authorization: "Bearer x" },
    polling: { max: 5000 },
    signal,
    async train(globalModel: Weights | null, round: Round) {
      const start = globalModel instanceof Float32Array ? globalModel : new Float32Array(round.length);
      round.signal.throwIfAborted();
      return start.map((weight) => weight + 0.1);
    },
  });
  participant.addEventListener("round", ({ detail }) => {
    const task: "none" | "sum" | "update" = detail.task;
    console.log(detail.round + 1, task.toUpperCase(), detail.tag.length);
  });
  participant.addEventListener("masked", (event) => console.log(event.detail.clamped + 1));
  // @ts-expect-error There is no such event.
  participant.addEventListener("rounds", () => {});
  // @ts-expect-error There is no such option.
  await Participant.create({ url: "x", trian: () => null });
  // @ts-expect-error A model is numbers.
  await participant.setModel("1");
  // @ts-expect-error It is made by create or restore.
  new Participant();
  const model: Weights | null = await participant.globalModel();
  console.log(model?.length, (await participant.status()).round?.dataType);
  try {
    await participant.finished;
  } catch (error) {
    if (error instanceof TrainError) console.error(error.cause);
    else if (error instanceof BugError || (error instanceof ParticipantError && error.code === "load")) throw error;
  }
  return participant.stop();
}

async function drive(now: number): Promise<number | null> {
  const machine = new Machine(await loadModule(), { settings: { maxMessageSize: 1 << 20 } });
  machine.tick(now);
  for (;;) {
    const output: Output = machine.pollOutput();
    switch (output.kind) {
      case "request":
        machine.fault(now, output.id, "unreachable", `${output.method} ${output.target} ${output.body?.length}`);
        break;
      case "job":
        while (!output.job.step()) console.log(output.job.progress.toFixed(2));
        machine.jobDone(now, output.job);
        break;
      case "event":
        if (output.event.type === "globalmodel") console.log(output.event.model?.length);
        break;
      case "idle":
        return output.wakeAt;
    }
  }
}

export { drive, take };
