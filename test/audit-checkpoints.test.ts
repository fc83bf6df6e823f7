/** What a writer signs of its trail: when, in which form, and what the next start makes of it. */
import { createHash, createPublicKey, verify as verifySignature } from "node:crypto";
import { appendFile, readFile, readdir, rm, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { parseNotes, signCheckpoint } from "../src/audit/checkpoint.ts";
import type { Signed } from "../src/audit/checkpoint.ts";
import { realDisk } from "../src/audit/disk.ts";
import { append, emptyRange, leafOf, rootOf } from "../src/audit/merkle.ts";
import { resume } from "../src/audit/resume.ts";
import type { Sinks } from "../src/audit/sinks.ts";
import { lastNote } from "../src/audit/tree.ts";
import { verify } from "../src/audit/verify.ts";
import { pinOf } from "../src/ed25519.ts";
import { realPorts, silent } from "../src/ports.ts";
import { SIGNING, auditing, callOnce, faultyDisk, folder, lines, portsAhead, spoolFiles } from "./audit-parts.ts";
import { portcullis } from "./cli-io.ts";

const PINS = [pinOf(SIGNING)];

/** Remembers what is published. */
function listening(): { readonly sinks: Sinks; readonly heard: Signed[] } {
  const heard: Signed[] = [];
  return { heard, sinks: { publish: (signed) => void heard.push(signed), status: () => [], close: async () => {} } };
}

const signing = (more: object = {}) => ({ checkpoints: { keys: [SIGNING] as const, intervalMs: 60_000, ...more } });

async function notes(directory: string): Promise<readonly Signed[]> {
  const files = (await readdir(directory)).filter((file) => file.endsWith(".checkpoints")).toSorted();
  const texts = await Promise.all(files.map((file) => readFile(join(directory, file), "utf8")));
  return texts.flatMap((text) => parseNotes(text).notes);
}
const sizes = (signed: readonly Signed[]) => signed.map(({ checkpoint }) => checkpoint.range.size);

describe("a chain is signed", () => {
  test("every so many records, and when it ends", async () => {
    const { sinks, heard } = listening();
    const room = await auditing(signing({ every: 4, sinks }));
    // two records each
    for (let turn = 0; turn < 5; turn++) await callOnce(room);
    await expect.poll(() => sizes(heard)).toEqual([4, 8]);
    await room.audit.close();
    expect(sizes(heard)).toEqual([4, 8, 10]);
    expect(await notes(room.directory)).toEqual(heard);
  });

  test("after an interval, and seldom while nothing happens", async () => {
    const { sinks, heard } = listening();
    const { ports, skip } = portsAhead();
    const room = await auditing(signing({ intervalMs: 20, sinks }), ports);
    await callOnce(room);
    await expect.poll(() => sizes(heard).at(-1)).toBe(2);
    const before = heard.length;
    await new Promise((later) => setTimeout(later, 100));
    expect(heard).toHaveLength(before);
    skip(30 * 20);
    await expect.poll(() => heard.length).toBe(before + 1);
    expect(sizes(heard).at(-1)).toBe(2);
    expect(heard.at(-1)!.checkpoint.time > heard.at(-2)!.checkpoint.time).toBe(true);
  });

  test("at the end of each file, so that what follows can be checked without it", async () => {
    const { sinks, heard } = listening();
    const room = await auditing({ ...signing({ sinks }), segmentBytes: 8_000 });
    for (let turn = 0; turn < 8; turn++) await callOnce(room);
    await room.audit.close();
    const files = await spoolFiles(room.directory);
    expect(files.length).toBeGreaterThan(3);
    const ends = heard.map(({ checkpoint }) => checkpoint.file);
    expect(ends).toEqual(files);
    for (const [at, { checkpoint }] of heard.entries())
      expect(checkpoint.bytes).toBe((await readFile(join(room.directory, files[at]!))).length);
  });
});

test("a checkpoint is a C2SP signed note over the RFC 6962 root of the lines' hashes", async () => {
  const room = await auditing(signing());
  for (let turn = 0; turn < 3; turn++) await callOnce(room);
  await room.audit.close();
  const [{ note } = { note: "" }] = await notes(room.directory);
  const sha = (...parts: readonly Buffer[]) => createHash("sha256").update(Buffer.concat(parts)).digest();
  const leaves = (await lines(room.directory)).map((line) => sha(Buffer.from([0]), sha(Buffer.from(line))));
  const two = (a: Buffer, b: Buffer) => sha(Buffer.from([1]), a, b);
  const [a, b, c, d, e, f] = leaves as [Buffer, Buffer, Buffer, Buffer, Buffer, Buffer];
  const root = two(two(two(a, b), two(c, d)), two(e, f)).toString("base64");
  const [text = "", signature = ""] = note.split("\n\n");
  const chain = (await spoolFiles(room.directory))[0]!.replace(/-\d{6}\.jsonl$/, "");
  expect(text.split("\n").slice(0, 3)).toEqual([`portcullis/${chain}`, "6", root]);
  const [dash, name, encoded = ""] = signature.trimEnd().split(" ");
  expect([dash, name]).toEqual(["—", `portcullis/${chain}`]);
  const bytes = Buffer.from(encoded, "base64");
  const x = PINS[0]!.split(":")[2]!;
  const publicKey = createPublicKey({ key: { kty: "OKP", crv: "Ed25519", x }, format: "jwk" });
  expect(verifySignature(null, Buffer.from(`${text}\n`), publicKey, bytes.subarray(4))).toBe(true);
  const named = sha(Buffer.from(`${name}\n`), Buffer.from([1]), Buffer.from(x, "base64url"));
  expect(bytes.subarray(0, 4)).toEqual(named.subarray(0, 4));
});

describe("the next start", () => {
  /** A trail as a crash leaves it: its last checkpoint is of the first two records. */
  async function crashed(): Promise<string> {
    const room = await auditing(signing({ every: 2 }));
    for (let turn = 0; turn < 3; turn++) await callOnce(room);
    await room.audit.close();
    const file = (await readdir(room.directory)).find((name) => name.endsWith(".checkpoints")) ?? "";
    await writeFile(join(room.directory, file), (await notes(room.directory))[0]!.note);
    return room.directory;
  }

  test("signs what a crash left unsigned, and says what its own chain follows", async () => {
    const directory = await crashed();
    const { sinks, heard } = listening();
    const room = await auditing({ ...signing({ sinks, every: 2 }), directory });
    await expect.poll(() => sizes(heard)).toEqual([6]);
    await callOnce(room);
    await room.audit.close();
    expect(sizes(heard)).toEqual([6, 2]);
    const [sealed, own] = heard;
    const { chain, range, root } = sealed!.checkpoint;
    expect(own!.checkpoint.previous).toEqual({ chain, size: range.size, root });
    expect(await verify(directory, { pins: PINS })).toMatchObject({ ok: true, signed: { records: 8 } });
  });

  test("is not misled by a checkpoint that it did not sign, or that a crash tore", async () => {
    const directory = await crashed();
    const file = (await readdir(directory)).find((name) => name.endsWith(".checkpoints")) ?? "";
    const [good] = await notes(directory);
    const forged = good!.note.replace(/— (\S+) .*/, `— $1 ${Buffer.alloc(68).toString("base64")}`);
    await writeFile(join(directory, file), forged.slice(0, -30));
    const { sinks, heard } = listening();
    const room = await auditing({ ...signing({ sinks }), directory });
    await expect.poll(() => sizes(heard)).toEqual([6]);
    await room.audit.close();
    expect(await verify(directory, { pins: PINS })).toMatchObject({ ok: true, tornTail: [file] });
  });

  test("looks at no more of them than it must, however many there are", async () => {
    const room = await auditing(signing({ every: 1 }));
    for (let turn = 0; turn < 50; turn++) await callOnce(room);
    await room.audit.close();
    const file = (await readdir(room.directory)).find((name) => name.endsWith(".checkpoints")) ?? "";
    const path = join(room.directory, file);
    const chain = file.replace(".checkpoints", "");
    const all = parseNotes(await readFile(path, "utf8")).notes;
    const looked: Signed[] = [];
    const last = (isRight: (note: Signed) => boolean) =>
      lastNote(room.directory, chain, (note) => looked.push(note) > 0 && isRight(note));
    expect((await last(() => true))?.range.size).toBe(all.at(-1)!.checkpoint.range.size);
    expect(looked).toEqual([all.at(-1)]);
    expect((await last(({ checkpoint }) => checkpoint.range.size === 40))?.range.size).toBe(40);
    expect(await last(() => false)).toBeNull();
    expect(looked.slice(-all.length)).toEqual(all.toReversed());
    await appendFile(path, `\n\n${all[3]!.note.slice(0, 200)}`);
    expect(await last(() => true)).toEqual(all.at(-1)!.checkpoint);
    expect(await lastNote(room.directory, "gateway-00000000000000000000", () => true)).toBeNull();
  });

  test("believes no checkpoint that another key signed, however well it is made", async () => {
    const directory = await crashed();
    const file = (await readdir(directory)).find((name) => name.endsWith(".checkpoints")) ?? "";
    const [good] = await notes(directory);
    const range = emptyRange();
    for (let at = 0; at < 6; at++) append(range, leafOf("ab".repeat(32)));
    const lie = { ...good!.checkpoint, range, root: rootOf(range).toString("base64") };
    await writeFile(join(directory, file), signCheckpoint(lie, { id: "x", key: Buffer.alloc(32, 1) }));
    const { sinks, heard } = listening();
    const room = await auditing({ ...signing({ sinks }), directory });
    await expect.poll(() => sizes(heard)).toEqual([6]);
    await room.audit.close();
    expect(heard[0]!.checkpoint.root).not.toBe(lie.root);
  });

  test("does not sign for a trail whose lines are not linked", async () => {
    const directory = await crashed();
    const [file = ""] = await spoolFiles(directory);
    const text = await readFile(join(directory, file), "utf8");
    const kept = text.split("\n").toSpliced(3, 1).join("\n");
    await writeFile(join(directory, file), kept);
    const { sinks, heard } = listening();
    const room = await auditing({ ...signing({ sinks }), directory });
    await expect.poll(() => sizes(heard)).toEqual([3]);
    await room.audit.close();
    expect(await verify(directory)).toMatchObject({ ok: false, firstBad: { line: 4 } });
  });

  test("goes back over starts that had no record", async () => {
    const directory = await crashed();
    for (let turn = 0; turn < 3; turn++) await (await auditing({ ...signing(), directory })).audit.close();
    const { sinks, heard } = listening();
    const room = await auditing({ ...signing({ sinks }), directory });
    await callOnce(room);
    await room.audit.close();
    expect(heard.at(-1)!.checkpoint.previous?.size).toBe(6);
  });
});

test("where the disk forces another chain, that one follows the first", async () => {
  const { disk, faults } = faultyDisk();
  const { ports, skip } = portsAhead();
  const { sinks, heard } = listening();
  const room = await auditing({ ...signing({ sinks }), disk }, ports);
  await callOnce(room);
  Object.assign(faults, { write: "EIO", truncate: "EIO", most: 1 });
  expect((await callOnce(room)).ok).toBe(false);
  Object.assign(faults, { write: null, truncate: null, most: Infinity });
  skip(5_000);
  await callOnce(room);
  await room.audit.close();
  expect(heard.map(({ checkpoint }) => [checkpoint.range.size, checkpoint.previous?.size])).toEqual([
    [2, undefined],
    [2, 2],
  ]);
  expect(await verify(room.directory, { pins: PINS })).toMatchObject({ ok: true, chains: 2 });
});

test("a checkpoint that cannot be written is written later, and calls go on meanwhile", async () => {
  const { disk } = faultyDisk();
  const { sinks, heard } = listening();
  let broken = true;
  const open = (path: string) => {
    if (broken && path.endsWith(".checkpoints")) throw Object.assign(new Error("EROFS"), { code: "EROFS" });
    return disk.open(path);
  };
  const room = await auditing({ ...signing({ sinks, every: 2, intervalMs: 30 }), disk: { ...disk, open } });
  await expect.poll(async () => (await callOnce(room), room.audit.checkpoints().lastError)).toBe("EROFS");
  expect((await callOnce(room)).ok).toBe(true);
  broken = false;
  await expect.poll(() => room.audit.checkpoints()).toMatchObject({ lastError: null });
  await expect.poll(() => room.audit.checkpoints().covered).toBe((await lines(room.directory)).length);
  expect(heard.length).toBeGreaterThan(0);
});

describe("what a chain alone cannot show", () => {
  async function trail() {
    const directory = await folder();
    for (let start = 0; start < 3; start++) {
      const room = await auditing({ ...signing({ every: 3 }), directory, segmentBytes: 6_000 });
      for (let turn = 0; turn < 4; turn++) await callOnce(room);
      await room.audit.close();
    }
    const files = await spoolFiles(directory);
    return { directory, files, chains: [...new Set(files.map((file) => file.replace(/-\d{6}\.jsonl$/, "")))] };
  }
  const bad = async (directory: string) => (await verify(directory, { pins: PINS })).firstBad;

  test("a tail that was cut", async () => {
    const { directory, files } = await trail();
    const path = join(directory, files.at(-1)!);
    const text = await readFile(path, "utf8");
    await writeFile(path, text.slice(0, text.lastIndexOf("\n", text.length - 2) + 1));
    expect(await bad(directory)).toMatchObject({
      file: files.at(-1),
      sequence: 8,
      reason: expect.stringMatching(/^the checkpoint of .* has 8 records, the trail ends after 7$/) as string,
    });
  });

  test("a last file that is gone", async () => {
    const { directory, files } = await trail();
    await rm(join(directory, files.at(-1)!));
    expect(await bad(directory)).toMatchObject({ reason: expect.stringContaining("has 8 records") as string });
  });

  test("a chain that is gone with all its checkpoints", async () => {
    const { directory, files, chains } = await trail();
    for (const file of await readdir(directory)) if (file.startsWith(chains[1]!)) await rm(join(directory, file));
    expect(files.some((file) => file.startsWith(chains[1]!))).toBe(true);
    expect(await bad(directory)).toMatchObject({
      sequence: 1,
      reason: expect.stringMatching(/of the chain after it .* has 8 records, the trail ends after 0/) as string,
    });
  });

  test("a checkpoint that somebody else signed", async () => {
    const { directory, chains } = await trail();
    expect(await verify(directory, { pins: [pinOf({ id: "x", key: Buffer.alloc(32, 1) })] })).toMatchObject({
      ok: false,
      firstBad: { file: `${chains[0]}.checkpoints`, reason: "a checkpoint that no known key signed" },
    });
  });

  test("a checkpoint of which a word was changed", async () => {
    const { directory, chains } = await trail();
    const path = join(directory, `${chains[0]}.checkpoints`);
    await writeFile(path, (await readFile(path, "utf8")).replace(/^time 2/m, "time 3"));
    expect(await bad(directory)).toMatchObject({ reason: "a checkpoint that no known key signed" });
    // nothing but the words in it is wrong
    expect(await verify(directory)).toMatchObject({ ok: true });
  });

  test("a trail written anew by who holds the key, held against a checkpoint kept elsewhere", async () => {
    const { directory, chains } = await trail();
    const outside = (await notes(directory)).map((signed) => ({ ...signed, from: "elsewhere" }));
    expect(await verify(directory, { pins: PINS, outside })).toMatchObject({ ok: true });
    const other = await trail();
    expect(await bad(other.directory)).toBeNull();
    const held = await verify(other.directory, { pins: PINS, outside });
    expect(held.firstBad).toMatchObject({ file: `${chains[0]}.checkpoints`, sequence: 1 });
  });

  test("the same chain written anew, line by line", async () => {
    const directory = await folder();
    const { ports } = portsAhead();
    const random = { ...ports.random, hex: (count: number) => "ab".repeat(count) };
    const clock = { ...ports.clock, nowMs: () => 1_800_000_000_000 };
    const write = async (at: string, path: string) => {
      const room = await auditing({ ...signing(), directory: at }, { ...ports, random, clock });
      await callOnce(room, { path });
      await room.audit.close();
      return notes(at);
    };
    const outside = (await write(await folder(), "/tmp/true")).map((signed) => ({ ...signed, from: "elsewhere" }));
    await write(directory, "/tmp/lie");
    expect(await verify(directory, { pins: PINS })).toMatchObject({ ok: true });
    expect((await verify(directory, { pins: PINS, outside })).firstBad).toMatchObject({
      sequence: 1,
      reason: expect.stringMatching(/^records 1 to 2 are not those of the checkpoint of .* in elsewhere$/) as string,
    });
  });
});

test("`audit verify` says what is signed and where that is kept, and holds the trail against what was kept elsewhere", async () => {
  const write = async () => {
    const room = await auditing(signing());
    await callOnce(room);
    await room.audit.close();
    return room.directory;
  };
  const [mine, other] = [await write(), await write()];
  const key = ["--key", PINS[0]!];
  const elsewhere = await folder();
  const file = (await readdir(mine)).find((name) => name.endsWith(".checkpoints")) ?? "";
  await writeFile(join(elsewhere, "kept"), await readFile(join(mine, file), "utf8"));
  const alone = await portcullis(["audit", "verify", mine, ...key]);
  expect(alone).toMatchObject({
    code: 0,
    stderr: expect.stringMatching(/2 of them are under 1 checkpoints.*signed/) as string,
  });
  expect(alone.stderr).toContain("Anchored nowhere outside this host");
  const unknown = await portcullis(["audit", "verify", mine]);
  expect(unknown).toMatchObject({ code: 0, stderr: expect.stringContaining("no key is at hand") as string });
  const held = await portcullis(["audit", "verify", mine, ...key, "--checkpoints", elsewhere]);
  expect(held).toMatchObject({ code: 0, stderr: expect.stringContaining(`Anchored at ${elsewhere}`) as string });
  const anew = await portcullis(["audit", "verify", other, ...key, "--checkpoints", elsewhere]);
  expect(anew).toMatchObject({
    code: 1,
    stdout: expect.stringMatching(
      /record 1: the checkpoint of .* in kept has 2 records, the trail ends after 0/,
    ) as string,
  });
  const json = await portcullis(["audit", "verify", mine, ...key, "--checkpoints", elsewhere, "--json"]);
  expect(JSON.parse(json.stdout)).toMatchObject({
    ok: true,
    anchored: [elsewhere],
    signed: { checkpoints: 2, records: 2 },
  });
  for (const wrong of [
    ["--checkpoints", mine + "none"],
    ["--checkpoints", await folder()],
    ["--key", "nonsense"],
  ])
    expect(await portcullis(["audit", "verify", mine, ...wrong])).toMatchObject({ code: 2 });
  const config = join(elsewhere, "portcullis.yaml");
  await writeFile(
    config,
    `data: ${mine}\naudit: {checkpoints: {to: [{http: "https://x:s3cret@notary.example/in"}]}}\n`,
  );
  await symlink(mine, join(mine, "audit"));
  const configured = await portcullis(["audit", "verify", "--config", config, ...key]);
  expect(configured).toMatchObject({
    code: 0,
    stderr: expect.stringContaining("Anchored at http https://notary.example.") as string,
  });
});

test("text that is no note is said to be torn, and hides none of those around it", async () => {
  const room = await auditing(signing({ every: 2 }));
  for (let turn = 0; turn < 2; turn++) await callOnce(room);
  await room.audit.close();
  const file = (await readdir(room.directory)).find((name) => name.endsWith(".checkpoints")) ?? "";
  const path = join(room.directory, file);
  const [first] = await notes(room.directory);
  await appendFile(path, `\n\nportcullis/x\n3\nnot a root\n\n\n${first!.note}`);
  const parsed = parseNotes(await readFile(path, "utf8"));
  expect(parsed.torn).toBe(true);
  expect(sizes(parsed.notes)).toEqual([2, 4, 2]);
});

test("a first start, which makes the folder meanwhile, follows nothing and complains of nothing", async () => {
  const directory = join(await folder(), "none-yet");
  const options = {
    directory,
    disk: realDisk,
    writer: "gateway",
    sync: false,
    keys: [SIGNING],
    publish: () => {},
  } as const;
  const bounds = { every: 1_000, intervalMs: 60_000 };
  await expect(resume({ ...options, ...bounds }, realPorts(silent), Date.now())).resolves.toBeNull();
});
