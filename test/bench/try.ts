import { startLoad, startNode } from "./process.ts";
import { extAuthz } from "./sections.ts";
const upstream = await startNode("measuring", "upstream.ts", []);
const load = startLoad();
console.log(
  await extAuthz({
    load,
    upstream,
    effort: { quick: true, rounds: 3, warm: { calls: 25000, ms: 4000 }, singleMs: 300, manyMs: 500, memoryCalls: 0 },
  }),
);
load.stop();
await upstream.stop();
