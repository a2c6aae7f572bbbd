import { ganHost } from "../models/gan_trainer.js";

const work = ganHost();
onmessage = ({ data }) => {
  for (const _ of work(data, postMessage));
};
