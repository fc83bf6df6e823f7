/** A proof of one record: for whoever has Portcullis, and for whoever has not. */
import { spawnSync } from "node:child_process";
import { readFile, readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { parseNotes, signedBy } from "../src/audit/checkpoint.ts";
import { holds, parseProof, proveCall, textOfProof } from "../src/audit/proof.ts";
import type { Proof, ProofOptions } from "../src/audit/proof.ts";
import { pinOf } from "../src/ed25519.ts";
import { SIGNING, auditing, callOnce, folder, forbidden, refuse, lines } from "./audit-parts.ts";
import { portcullis } from "./cli-io.ts";
import { lacks } from "./support/parts.ts";

const PIN = pinOf(SIGNING);
const PINS = [PIN];

/** Two starts, files of a few records, a checkpoint every five. */
async function trail() {
  const directory = await folder();
  const calls: string[] = [];
  for (let start = 0; start < 2; start++) {
    const room = await auditing({ directory, segmentBytes: 9_000, checkpoints: { keys: [SIGNING], every: 5 } });
    for (let turn = 0; turn < 9; turn++) {
      const { call } = await callOnce(room, { path: `/tmp/é${turn}` });
      calls.push(call.id);
    }
    await room.audit.close();
  }
  return { directory, calls };
}

const options = (call: string, more: Partial<ProofOptions> = {}): ProofOptions => ({
  ...{ call, intent: false, pins: PINS, outside: null },
  ...more,
});

async function proven(directory: string, call: string, more: Partial<ProofOptions> = {}): Promise<Proof> {
  const proof = await proveCall(directory, options(call, more));
  if (typeof proof === "string") throw new Error(proof);
  return proof;
}

test("every record of every call has one, which holds, and comes back from its text as it was", async () => {
  const { directory, calls } = await trail();
  for (const call of calls)
    for (const intent of [true, false]) {
      const proof = await proven(directory, call, { intent });
      expect(proof.line).toContain(call);
      expect(proof.line.includes('{"stringValue":"intent"}')).toBe(intent);
      expect(signedBy(proof.signed, PINS)).toBe(PIN);
      const text = textOfProof(proof);
      expect(parseProof(text)).toEqual(proof);
      expect(holds(parseProof(text)!)).toBe(true);
    }
});

test("a refusal has one too", async () => {
  const room = await auditing();
  const { call } = await refuse(room, forbidden(), {}, (one) => void (one.principal = null));
  const known = await callOnce(room);
  await room.audit.close();
  expect(await proveCall(room.directory, options(call.id))).toMatchObject({
    index: 0,
    path: [expect.any(Buffer), expect.any(Buffer)],
  });
  expect(await proveCall(room.directory, options(known.call.id, { intent: true }))).toMatchObject({ index: 1 });
});

test("against a checkpoint kept elsewhere, the newest one counts", async () => {
  const { directory, calls } = await trail();
  const files = (await readdir(directory)).filter((file) => file.endsWith(".checkpoints"));
  const texts = await Promise.all(files.map((file) => readFile(join(directory, file), "utf8")));
  const outside = texts.flatMap((text) => parseNotes(text).notes);
  const proof = await proven(directory, calls[0]!, { outside });
  expect(proof.signed.checkpoint.range.size).toBe(18);
  expect(holds(proof)).toBe(true);
});

test("there is none for a record that is not there, not covered, signed by nobody known, or changed", async () => {
  const { directory, calls } = await trail();
  expect(await proveCall(directory, options("0199aaaa-0000-7000-8000-000000000000"))).toBe("no record");
  expect(await proveCall(directory, options(calls[3]!, { outside: [] }))).toBe("no checkpoint");
  expect(await proveCall(directory, options(calls[3]!, { pins: [] }))).toBe("no checkpoint");
  const [file = ""] = (await readdir(directory)).filter((name) => name.endsWith(".jsonl")).toSorted();
  const path = join(directory, file);
  await writeFile(path, (await readFile(path, "utf8")).replaceAll("alice", "mallo"));
  expect(await proveCall(directory, options(calls[0]!))).toBe("another trail");
});

test("a proof of which anything was changed does not hold", async () => {
  const { directory, calls } = await trail();
  const text = textOfProof(await proven(directory, calls[2]!));
  const other = textOfProof(await proven(directory, calls[6]!));
  const stands = (one: string) => {
    const proof = parseProof(one);
    return proof !== null && holds(proof) && signedBy(proof.signed, PINS) !== null;
  };
  expect(stands(text)).toBe(true);
  const extra = (from: string) => /^extra .*$/m.exec(from)![0];
  expect(stands(text.replace(extra(text), extra(other)))).toBe(false);
  const lie = Buffer.from(Buffer.from(extra(text).slice(6), "base64").toString("latin1").replace("alice", "mallo"));
  expect(stands(text.replace(extra(text), `extra ${lie.toString("base64")}`))).toBe(false);
  expect(stands(text.replace(/^index 5$/m, "index 4"))).toBe(false);
  let flips = 0;
  for (let at = text.indexOf("index"); at < text.length; at += 7) {
    const code = text.charCodeAt(at);
    if (!/[A-Za-z0-9]/.test(text.charAt(at))) continue;
    const flipped = `${text.slice(0, at)}${String.fromCharCode(code === 0x41 ? 0x42 : 0x41)}${text.slice(at + 1)}`;
    flips++;
    // base64 has bits at its end that mean nothing
    if (flipped !== text && stands(flipped)) expect(text.slice(at + 1, at + 3)).toMatch(/=/);
  }
  expect(flips).toBeGreaterThan(50);
});

describe("from a shell", () => {
  test("`audit proof` prints it, `--check` reads it, and both say no where it is no", async () => {
    const { directory, calls } = await trail();
    const call = calls[4]!;
    const key = ["--key", PIN];
    const printed = await portcullis(["audit", "proof", call, directory, ...key]);
    expect(printed).toMatchObject({ code: 0 });
    const file = join(await folder(), "call.tlog-proof");
    await writeFile(file, printed.stdout);
    const checked = await portcullis(["audit", "proof", "--check", file, ...key]);
    expect(checked).toMatchObject({
      code: 0,
      stderr: expect.stringMatching(/^Record 10 of gateway-\w+ is among the \d+ that ed25519:test:/) as string,
    });
    expect(JSON.parse(checked.stdout)).toHaveProperty("resourceSpans");
    const json = await portcullis(["audit", "proof", call, directory, ...key, "--json"]);
    expect(JSON.parse(json.stdout)).toMatchObject({
      call,
      index: 9,
      key: PIN,
      record: { "portcullis.record": "outcome" },
    });
    const stranger = ["--key", pinOf({ id: "x", key: Buffer.alloc(32, 1) })];
    expect(await portcullis(["audit", "proof", "--check", file, ...stranger])).toMatchObject({
      code: 1,
      stderr: expect.stringContaining("none of the known keys") as string,
    });
    await writeFile(file, printed.stdout.replace("index 9", "index 8"));
    expect(await portcullis(["audit", "proof", "--check", file, ...key])).toMatchObject({ code: 1 });
    await writeFile(file, "no proof");
    expect(await portcullis(["audit", "proof", "--check", file, ...key])).toMatchObject({ code: 2 });
    expect(await portcullis(["audit", "proof", "0199aaaa-0000-7000-8000-000000000000", directory])).toMatchObject({
      code: 1,
    });
    expect(await portcullis(["audit", "proof"])).toMatchObject({ code: 2 });
  });

  test.skipIf(lacks("openssl"))(
    "and the page in docs/ checks it with sha256sum and openssl, as it is printed there",
    async () => {
      const page = await readFile(join(import.meta.dirname, "../docs/audit-proof.md"), "utf8");
      const script = [...page.matchAll(/^```sh\n([^]*?)^```$/gm)].map(([, code]) => code).join("");
      const sizes = new Set<number>();
      const run = async (text: string, key = PIN) => {
        const cwd = await folder();
        await writeFile(join(cwd, "call.tlog-proof"), text);
        return spawnSync("bash", ["-c", script], { cwd, env: { ...process.env, key }, encoding: "utf8" });
      };
      const { calls, directory: at } = await trail();
      for (const one of [calls[0]!, calls[4]!, calls[8]!, calls[12]!]) {
        const proof = await proven(at, one);
        sizes.add(proof.path.length);
        const { status, stdout, stderr } = await run(textOfProof(proof));
        expect([status, stderr]).toEqual([0, ""]);
        expect(stdout).toContain("The record is in the tree of this root.");
        expect(stdout).toMatch(/Signature Verified Successfully/);
        expect(stdout).toContain(one);
      }
      expect(sizes.size).toBeGreaterThan(1);
      const text = textOfProof(await proven(at, calls[0]!));
      const [lie] = await lines(at);
      const changed = text.replace(
        /^extra .*$/m,
        `extra ${Buffer.from(lie!.replace("alice", "mallo")).toString("base64")}`,
      );
      expect(await run(changed)).toMatchObject({
        status: 1,
        stdout: expect.stringContaining("not in this tree") as string,
      });
      expect((await run(text, pinOf({ id: "x", key: Buffer.alloc(32, 1) }))).status).not.toBe(0);
      expect((await run(text.replace(/^time 2/m, "time 3"))).status).not.toBe(0);
    },
  );
});
