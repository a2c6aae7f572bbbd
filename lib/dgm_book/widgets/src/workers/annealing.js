import { work } from "../models/annealing.js";

onmessage = ({ data }) => {
  for (const _ of work(data, postMessage));
  close();
};
