import { work } from "../models/annealing.js";

self.onmessage = ({ data }) => {
  for (const _ of work(data, postMessage));
  close();
};
