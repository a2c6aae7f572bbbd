import { work } from "../models/coding.js";

self.onmessage = ({ data }) => {
  for (const _ of work(data, postMessage));
  close();
};
