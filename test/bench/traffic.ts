/**
 * What traffic rules cost a call by themselves: three limits on Redis; and balance, breakers and bulkhead of three
 * instances, less what the same calls cost an instance's connection that answers at once.
 */
import { TRAFFIC } from "../../src/config-traffic.ts";
import { createLimits, limit, release } from "../../src/limits/limit.ts";
import type { Answer, Call, Limit, Principal, Snapshot, Tool } from "../../src/model.ts";
import type { Permit } from "../../src/policy/authorize.ts";
import { realPorts, silent } from "../../src/ports.ts";
import { observe } from "../../src/upstream/balance.ts";
import { newExchange } from "../../src/upstream/connection.ts";
import type { Connection } from "../../src/upstream/connection.ts";
import { createGroup } from "../../src/upstream/group.ts";
import { openInstance } from "../../src/upstream/instance.ts";
import type { Instance } from "../../src/upstream/instance.ts";
import { redisServer } from "../support/parts.ts";
import type { Bench } from "./gateways.ts";
import { middle } from "./measure.ts";

const CONNECTIONS = 64;
const ports = realPorts(silent);

export async function traffic({ effort }: Bench) {
  const calls = effort.quick ? 20_000 : 50_000;
  return {
    limitsMicros: await limitsCost(effort.rounds, calls),
    balanceMicros: await balanceCost(effort.rounds, calls),
  };
}

/** CPU of this process for each call of `work`, of which 64 run at a time. */
async function costOf(calls: number, work: (at: number) => Promise<unknown>): Promise<number> {
  const before = process.cpuUsage();
  let next = 0;
  const worker = async (): Promise<void> => {
    for (let at = next++; at < calls; at = next++) await work(at);
  };
  await Promise.all(Array.from({ length: CONNECTIONS }, worker));
  const { user, system } = process.cpuUsage(before);
  return (user + system) / calls;
}

async function limitsCost(rounds: number, calls: number): Promise<number> {
  const redis = await redisServer();
  const limits = await createLimits({ redisUrl: redis.url }, ports);
  try {
    const work = async (at: number): Promise<void> => {
      const call = { id: `call-${at}`, snapshot, limit: null } as unknown as Call;
      await limit(limits, permit, call);
      release(limits, call);
    };
    await costOf(calls, work);
    const costs: number[] = [];
    for (let round = 0; round < rounds; round++) costs.push(await costOf(calls, work));
    // while Redis is away they are counted here, which is another figure
    const charged = [...limits.used.values()].map((one) => one.charged);
    if (LIMITS.length !== charged.length || charged.some((count) => count !== calls * (rounds + 1)))
      throw new Error(`Redis charged ${charged.join(", ")} calls.`);
    return middle(costs);
  } finally {
    limits.close();
    await redis.stop();
  }
}

async function balanceCost(rounds: number, calls: number): Promise<number> {
  const group = createGroup(TRAFFIC, ports);
  const instances = [1, 2, 3].map((at) => instanceOf(at, group));
  group.adopt(instances, TRAFFIC);
  const work = async (): Promise<void> => {
    const exchange = newExchange("tools/call", {}, 1_000);
    group.tools.look("read", "acme");
    const turn = group.bulkhead.enter(exchange, "acme");
    if (turn !== undefined) await turn;
    const use = group.tools.admit("read", "acme");
    const instance = group.pick([]);
    if (instance === null) throw group.none();
    group.budget.deposit();
    const startedMs = group.nowMs();
    await instance.send(exchange);
    observe(instance.load, group.nowMs() - startedMs, 1, group.nowMs());
    group.tools.report(use, "worked");
    group.bulkhead.leave();
  };
  const bare = (): Promise<Answer> => connection.send(newExchange("tools/call", {}, 1_000));
  const costs: number[] = [];
  for (const one of [work, bare]) await costOf(calls, one);
  for (let round = 0; round < rounds; round++) costs.push((await costOf(calls, work)) - (await costOf(calls, bare)));
  return middle(costs);
}

const answer: Answer = { kind: "result", result: { content: [] } };
const connection: Connection = {
  open: () => Promise.reject(new Error("never met")),
  send: () => Promise.resolve(answer),
  listen: () => {},
  alive: () => true,
  forget: () => {},
  stderr: () => "",
  close: () => Promise.resolve(),
  abandon: () => {},
};

function instanceOf(at: number, group: ReturnType<typeof createGroup>): Instance {
  const spec = { kind: "http", id: `http ${at}`, url: `http://127.0.0.1/${at}` } as unknown as Instance["spec"];
  const { mayEject, turned: onTurn } = group;
  return openInstance(
    spec,
    { server: "files", version: "1.0.0" },
    {
      connect: () => connection,
      connection: { resultBytesMax: 1_000_000, searchPath: "", cwd: null, ports },
      fitness: {
        backoffFirstMs: 500,
        backoffMaxMs: 30_000,
        terms: () => TRAFFIC.outlierDetection,
        mayEject,
        onTurn,
      },
      maySpare: group.maySpare,
      onListChanged: () => {},
    },
  );
}

const LIMITS = (
  [
    ["per-user", ["principal"]],
    ["per-tool", ["principal", "tool"]],
    ["per-server", ["tenant", "server"]],
  ] as const
).map(([name, key]): Limit => ({
  ...{ name, key, always: true, kind: "sliding", limit: 1_000_000_000, windowMs: 86_400_000 },
  ...{ burst: 1_000_000_000, redisDown: "local", localShare: 1 },
}));
const snapshot = { limits: new Map(LIMITS.map((one) => [one.name, one])) } as unknown as Snapshot;
const principal: Principal = {
  ...{ id: "alice", kind: "user", roles: ["analyst"], permissions: ["files:read"], tenant: "acme" },
  ...{ onBehalfOf: null, claims: {} },
};
const tool = {
  name: "files__read",
  server: "files",
  version: "1.0.0",
  limits: [],
  namedLimits: [],
  cost: 1,
} as unknown as Tool;
const permit = { principal, tool, obligations: { limits: [], cost: null } } as unknown as Permit;
