import { ganHost } from "../models/gan_trainer.js";

const work = ganHost();
self.onmessage = ({ data }) => {
  for (const _ of work(data, postMessage));
};
