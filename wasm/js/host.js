// The worker's side: a driver, and messages to and from the page. `port` is whatever has postMessage and tells messages.

import { Driver } from "./driver.js";
import { errorOf } from "./errors.js";
import { Machine } from "./machine.js";

/** An error as a message has it. */
export const told = (error) => ({ code: error.code ?? "bug", message: error.message });

/** An error of a message. */
export const read = ({ code, message }) => errorOf(code, message);

/** Listens to a page; gives the function that takes its messages. */
export function host(post, close) {
  let driver = null;
  const start = ({ module, state, settings, transport, trains, slice }) => {
    const machine = new Machine(module, { state, settings });
    state?.fill(0);
    driver = new Driver(machine, {
      ...transport,
      slice,
      onEvent: (event) => post({ type: "event", event }),
      onTrain: trains ? (model, round) => post({ type: "train", model, round }, model ? [model.buffer] : []) : null,
      onFailed: (error) => post({ type: "failed", error: told(error) }),
    });
    const { publicKey } = driver.view;
    post({ type: "started", publicKey });
    driver.start();
  };
  const calls = {
    fetchModel: () => driver.fetchModel(),
    setModel: ({ weights }) => driver.setModel(weights),
    save: () => driver.save(),
    view: () => driver.view,
    stop: () => {
      // The last state, before everything is wiped.
      const state = driver.save();
      driver.stop();
      return state;
    },
  };
  return async (message) => {
    if (message.type === "start") {
      try {
        start(message);
      } catch (error) {
        post({ type: "failed", error: told(error) });
      }
    } else if (message.type === "trained") {
      driver.trained(message.weights, message.round);
    } else if (message.type === "call") {
      try {
        const value = await calls[message.name](message);
        post({ type: "answer", id: message.id, value }, value?.buffer ? [value.buffer] : []);
      } catch (error) {
        post({ type: "answer", id: message.id, error: told(error) });
      }
      if (message.name === "stop") close();
    }
  };
}
