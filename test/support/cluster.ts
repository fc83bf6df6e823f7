/** A real Redis Cluster on loopback ports, over TLS if wanted: three masters, and what an operator does with it. */
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Redis } from "ioredis";
import { freePort, requirePart, started } from "./parts.ts";
import type { Part } from "./parts.ts";

export type RedisNode = Part & { readonly id: string; readonly say: Redis };
/** Of an authority of its own, for nodes that say their address, or that name. */
export type Tls = { readonly ca: string; readonly args: readonly string[]; readonly announced: string | null };
export type RedisCluster = {
  readonly nodes: readonly RedisNode[];
  /** Of that node; of the first unless it is named. */
  readonly url: (node?: RedisNode) => string;
  readonly ownerOf: (key: string) => Promise<RedisNode>;
  /** Whoever is not the owner. */
  readonly otherThan: (key: string) => Promise<RedisNode>;
  /** Moves the slot of that key, with all that is in it, to another master. */
  readonly reshard: (key: string) => Promise<void>;
  /** One more node, which copies that one, and is ready to take its place. */
  readonly replicaOf: (node: RedisNode) => Promise<RedisNode>;
  /** Its replica has what was written so far to the slot of that key. */
  readonly copied: (node: RedisNode, key: string) => Promise<void>;
  readonly stop: () => Promise<void>;
};

const MASTERS = 3;
const SLOTS = 16_384;
const READY_MS_MAX = 30_000;

/** `ports`: of its masters, to come where another was. */
export async function redisCluster({
  tls = null,
  ports = [],
}: { readonly tls?: Tls | null; readonly ports?: readonly number[] } = {}): Promise<RedisCluster> {
  const start = (port?: number) => startNode(tls, port);
  const nodes = await Promise.all(Array.from({ length: MASTERS }, (_, at) => start(ports[at])));
  const [first] = nodes as [RedisNode];
  for (const [at, { say }] of nodes.entries()) {
    const [from, to] = [at, at + 1].map((part) => Math.floor((SLOTS / MASTERS) * part));
    await say.call("CLUSTER", "ADDSLOTSRANGE", String(from), String((to ?? 0) - 1));
    await say.call("CLUSTER", "SET-CONFIG-EPOCH", String(at + 1));
  }
  await meet(first, nodes.slice(1));
  const ownerOf = async (key: string): Promise<RedisNode> => {
    for (const node of nodes) {
      // whoever has it answers, and others say who does
      const said = await node.say.exists(key).catch(() => null);
      if (said !== null && (await node.say.role())[0] === "master") return node;
    }
    throw new Error("Nobody has that slot.");
  };
  const otherThan = async (key: string): Promise<RedisNode> => {
    const owner = await ownerOf(key);
    return nodes.find((node) => node !== owner) ?? first;
  };
  return {
    nodes,
    url: (node = first) => `redis${tls === null ? "" : "s"}+cluster://${tls?.announced ?? "127.0.0.1"}:${node.port}`,
    ownerOf,
    otherThan,
    reshard: async (key) => await moveSlot(nodes, key, await ownerOf(key), await otherThan(key)),
    replicaOf: async (node) => {
      const replica = await start();
      await meet(node, [replica]);
      await untilTrue(async () => (await knownTo(replica)).includes(node.id), "the replica knows its master");
      await replica.say.call("CLUSTER", "REPLICATE", node.id);
      await untilTrue(
        async () => (await replica.say.info("replication")).includes("master_link_status:up"),
        "it copies",
      );
      nodes.push(replica);
      return replica;
    },
    copied: async ({ say }, key) => {
      // only what one wrote oneself can be waited for
      await say.set(`${key}:copied`, "1", "EX", 60);
      if ((await say.wait(1, 5000)) < 1) throw new Error("The replica did not follow.");
    },
    stop: async () => void (await Promise.all(nodes.map((node) => node.stop()))),
  };
}

/** Made for loopback, and for `announced`, where the nodes shall say that name in place of their address. */
export function clusterTls(folder: string, announced: string | null = null): Tls {
  const [cert, key] = [join(folder, "node.pem"), join(folder, "node.key")];
  const names = announced === null ? "IP:127.0.0.1" : `DNS:${announced}`;
  const made = ["req", "-x509", "-nodes", "-newkey", "rsa:2048", "-days", "2", "-subj", "/CN=node"];
  const args = [...made, "-addext", `subjectAltName=${names}`, "-keyout", key, "-out", cert];
  execFileSync(requirePart("openssl"), args, { stdio: "ignore" });
  const files = ["--tls-cert-file", cert, "--tls-key-file", key, "--tls-ca-cert-file", cert];
  const own = [...files, "--tls-auth-clients", "no", "--tls-cluster", "yes", "--tls-replication", "yes"];
  const said = ["--cluster-announce-hostname", announced ?? "", "--cluster-preferred-endpoint-type", "hostname"];
  return { ca: readFileSync(cert, "utf8"), announced, args: announced === null ? own : [...own, ...said] };
}

async function startNode(tls: Tls | null, wanted?: number): Promise<RedisNode> {
  const [port, busPort] = [wanted ?? (await freePort()), await freePort()];
  const folder = mkdtempSync(join(tmpdir(), "portcullis-cluster-"));
  const args = ["--bind", "127.0.0.1", "--dir", folder, "--save", "", "--appendonly", "no"];
  args.push(...(tls === null ? ["--port", String(port)] : ["--port", "0", "--tls-port", String(port), ...tls.args]));
  args.push("--cluster-enabled", "yes", "--cluster-port", String(busPort), "--cluster-node-timeout", "1000");
  const part = await started(requirePart("redis-server"), args, port);
  const trusted = tls === null ? {} : { tls: { ca: tls.ca, servername: tls.announced ?? "" } };
  const say = new Redis({ port, host: "127.0.0.1", maxRetriesPerRequest: 1, ...trusted });
  say.on("error", () => {});
  const id = String(await say.call("CLUSTER", "MYID"));
  const stop = async () => {
    say.disconnect();
    await part.stop();
    rmSync(folder, { recursive: true, force: true });
  };
  return { ...part, id, say, stop };
}

async function meet(known: RedisNode, others: readonly RedisNode[]): Promise<void> {
  const busPort = /@(\d+)\S* myself/.exec(await knownTo(known))?.[1] ?? "";
  const all = [known, ...others];
  for (const { say } of others) await say.call("CLUSTER", "MEET", "127.0.0.1", String(known.port), busPort);
  const isWhole = async ({ say }: RedisNode) => String(await say.call("CLUSTER", "INFO")).includes("cluster_state:ok");
  await untilTrue(async () => (await Promise.all(all.map(isWhole))).every(Boolean), "the cluster is whole");
}

async function knownTo({ say }: RedisNode): Promise<string> {
  return String(await say.call("CLUSTER", "NODES"));
}

/** As `redis-cli --cluster reshard` does. */
async function moveSlot(nodes: readonly RedisNode[], key: string, from: RedisNode, to: RedisNode): Promise<void> {
  const slot = String(await from.say.call("CLUSTER", "KEYSLOT", key));
  await to.say.call("CLUSTER", "SETSLOT", slot, "IMPORTING", from.id);
  await from.say.call("CLUSTER", "SETSLOT", slot, "MIGRATING", to.id);
  for (;;) {
    const keys = (await from.say.call("CLUSTER", "GETKEYSINSLOT", slot, "100")) as string[];
    if (keys.length === 0) break;
    await from.say.call("MIGRATE", "127.0.0.1", String(to.port), "", "0", "5000", "KEYS", ...keys);
  }
  for (const { say } of [to, from, ...nodes]) await say.call("CLUSTER", "SETSLOT", slot, "NODE", to.id);
}

async function untilTrue(holds: () => Promise<boolean>, what: string): Promise<void> {
  for (const endMs = performance.now() + READY_MS_MAX; !(await holds()); await sleep(50))
    if (performance.now() > endMs) throw new Error(`It never came to be that ${what}.`);
}
