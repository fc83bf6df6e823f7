/**
 * Machines of a test's own: each is a Linux network namespace with one address on one bridge, and is cut off as the test
 * says. What surprises: nobody need be root, for all of them lie in one user namespace; and a namespace lives as long as
 * the `cat` in it, which ends with the test. Two that are cut apart hear nothing of each other, no reset and no refusal:
 * each sends to a hardware address that nobody has (unlike netem, that needs no module of the kernel).
 */
import { execFileSync, spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { requirePart, started } from "./parts.ts";
import type { Part } from "./parts.ts";

export type Machine = {
  readonly address: string;
  /** Runs a command there until it has printed what `ready` looks for. It ends with the network. */
  readonly start: (command: string, args: readonly string[], ready: RegExp) => Promise<Part>;
  /** The path of a Unix socket that leads to a port of its loopback. */
  readonly door: (port: number) => Promise<string>;
  /** Its cable, at the far end: nothing goes in or out. */
  readonly unplug: () => void;
  readonly plug: () => void;
};
export type Network<Name extends string> = {
  readonly machines: { readonly [name in Name]: Machine };
  readonly cut: (one: Machine, other: Machine) => void;
  readonly join: (one: Machine, other: Machine) => void;
  readonly close: () => Promise<void>;
};

export async function startNetwork<Name extends string>(names: readonly Name[]): Promise<Network<Name>> {
  requirePart("namespaces");
  const folder = mkdtempSync(join(tmpdir(), "portcullis-network-"));
  const parts: Part[] = [];
  const spaces = [await space(["unshare", "-Ur", "-n"])];
  const [hub] = spaces as [Space];
  hub.ip("link add bridge type bridge", "link set bridge up");
  const machineOf = async (name: string, index: number): Promise<Machine> => {
    const own = await space([...hub.enter("-U"), "unshare", "-n"]);
    spaces.push(own);
    const [address, cable] = [`10.77.0.${index + 1}`, `cable${index}`];
    hub.ip(`link add ${cable} type veth peer name eth0 netns ${own.pid}`, `link set ${cable} master bridge up`);
    own.ip("link set lo up", `addr add ${address}/24 dev eth0`, "link set eth0 up");
    const start: Machine["start"] = async (command, args, ready) => {
      const [enter = "", ...words] = own.enter("-U", "-n");
      const part = await started(enter, [...words, command, ...args], (output) => ready.test(output));
      parts.push(part);
      return part;
    };
    return {
      address,
      start,
      door: async (port) => {
        const path = join(folder, `${name}-${port}.sock`);
        await start(process.execPath, ["-e", DOOR, path, String(port)], /open/);
        return path;
      },
      unplug: () => hub.ip(`link set ${cable} down`),
      plug: () => hub.ip(`link set ${cable} up`),
    };
  };
  const made: [string, Machine][] = [];
  for (const [index, name] of names.entries()) made.push([name, await machineOf(name, index)]);
  const spaceOf = (machine: Machine): Space => spaces[made.findIndex(([, one]) => one === machine) + 1] ?? hub;
  const both = (one: Machine, other: Machine, words: (address: string) => string): void => {
    spaceOf(one).ip(words(other.address));
    spaceOf(other).ip(words(one.address));
  };
  return {
    machines: Object.fromEntries(made) as { [name in Name]: Machine },
    cut: (one, other) =>
      both(one, other, (address) => `neigh replace ${address} lladdr ${NOBODY} dev eth0 nud permanent`),
    join: (one, other) => both(one, other, (address) => `neigh del ${address} dev eth0`),
    close: async () => {
      for (const part of parts.splice(0).toReversed()) await part.stop();
      for (const { child } of spaces.splice(0)) child.kill();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

const NOBODY = "02:00:00:00:00:ff";
const DOOR = `
const { connect, createServer } = require("node:net");
const [path, port] = process.argv.slice(1);
createServer((near) => {
  const far = connect(Number(port), "127.0.0.1");
  near.on("error", () => far.destroy()).pipe(far);
  far.on("error", () => near.destroy()).pipe(near);
}).listen(path, () => console.log("open"));`;

type Space = {
  readonly pid: number;
  readonly child: ChildProcess;
  /** The words that run a command in namespaces of this one's. */
  readonly enter: (...kinds: readonly string[]) => readonly string[];
  /** Carries out commands of `ip` here. */
  readonly ip: (...commands: readonly string[]) => void;
};

async function space([command = "", ...words]: readonly string[]): Promise<Space> {
  const child = spawn(command, [...words, "cat"], { stdio: ["pipe", "pipe", "inherit"] });
  // `cat` answers where the namespace is made
  child.stdin.write("made");
  await Promise.race([once(child.stdout, "data"), once(child, "exit")]);
  if (child.pid === undefined || child.exitCode !== null) throw new Error(`${command} made no namespace`);
  const { pid } = child;
  const enter: Space["enter"] = (...kinds) => ["nsenter", "-t", String(pid), ...kinds, "--preserve-credentials"];
  const ip: Space["ip"] = (...commands) => {
    const [nsenter = "", ...where] = enter("-U", "-n");
    execFileSync(nsenter, [...where, "ip", "-batch", "-"], { input: commands.join("\n") });
  };
  return { pid, child, enter, ip };
}
