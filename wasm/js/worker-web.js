// The worker in browsers.

import { host } from "./host.js";

const take = host((message, transfer) => postMessage(message, transfer ?? []), () => close());
onmessage = ({ data }) => take(data);
