/** Whoever touches the trail is found out. */
import { appendFile, copyFile, mkdir, readFile, readdir, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { verify } from "../src/audit/verify.ts";
import { auditing, callOnce, folder, spoolFiles } from "./audit-parts.ts";

/** Two chains; the first has several segments of several lines. */
async function trail(): Promise<{ readonly directory: string; readonly files: readonly string[] }> {
  const room = await auditing({ segmentBytes: 8_000 });
  for (let turn = 0; turn < 8; turn++) await callOnce(room);
  await room.audit.close();
  const files = await spoolFiles(room.directory);
  const next = await auditing({ directory: room.directory });
  await callOnce(next);
  await next.audit.close();
  return { directory: room.directory, files };
}

const notesOf = (file: string) => file.replace(/-\d{6}\.jsonl$/, ".checkpoints");

async function edit(directory: string, file: string, change: (lines: string[]) => readonly string[]): Promise<void> {
  const lines = (await readFile(join(directory, file), "utf8")).split("\n").slice(0, -1);
  await writeFile(
    join(directory, file),
    change(lines)
      .map((line) => `${line}\n`)
      .join(""),
  );
}

test("an untouched trail verifies; a folder that is not there is a fault, not an empty trail", async () => {
  const { directory, files } = await trail();
  expect(files.length).toBeGreaterThan(3);
  expect(await verify(directory)).toEqual({
    ok: true,
    records: 18,
    chains: 2,
    firstBad: null,
    tornTail: [],
    elsewhere: [],
    signed: {
      checkpoints: expect.any(Number) as number,
      records: 18,
      newest: expect.any(String) as string,
      removed: 0,
      unchecked: 0,
    },
  });
  await expect(verify(join(directory, "none"))).rejects.toMatchObject({ code: "ENOENT" });
});

describe("it names the first broken link after", () => {
  test("a deleted line", async () => {
    const { directory, files } = await trail();
    const file = files[1]!;
    await edit(directory, file, (lines) => lines.toSpliced(1, 1));
    expect((await verify(directory)).firstBad).toMatchObject({
      file,
      line: 2,
      reason: expect.stringMatching(/numbered \d+, expected/) as string,
    });
  });

  test("two swapped lines", async () => {
    const { directory, files } = await trail();
    await edit(directory, files[0]!, ([a = "", b = "", ...rest]) => [b, a, ...rest]);
    expect((await verify(directory)).firstBad).toMatchObject({ file: files[0], line: 1 });
  });

  test("a line written twice", async () => {
    const { directory, files } = await trail();
    await edit(directory, files[0]!, ([a = "", ...rest]) => [a, a, ...rest]);
    expect((await verify(directory)).firstBad).toMatchObject({ file: files[0], line: 2 });
  });

  test("a line replaced by one that is well-formed and rightly numbered", async () => {
    const { directory, files } = await trail();
    await edit(directory, files[0]!, ([a = "", ...rest]) => [a.replaceAll("alice", "mallo"), ...rest]);
    expect((await verify(directory)).firstBad).toMatchObject({
      file: files[0],
      line: 2,
      reason: "the line before is not the one this line was chained to",
    });
  });

  test("a chain whose first line pretends to follow another", async () => {
    const { directory, files } = await trail();
    await edit(directory, files[0]!, ([a = "", ...rest]) => [a.replace("0".repeat(64), "1".repeat(64)), ...rest]);
    expect((await verify(directory)).firstBad).toMatchObject({ file: files[0], line: 1 });
  });

  test("a blank line, or text that is no record", async () => {
    for (const stray of ["", "hello"]) {
      const { directory, files } = await trail();
      await edit(directory, files[0]!, (lines) => lines.toSpliced(1, 0, stray));
      expect((await verify(directory)).firstBad).toMatchObject({ file: files[0], line: 2, reason: "not a record" });
    }
  });

  test("a last line that is rightly linked and holds no span", async () => {
    const { directory, files } = await trail();
    const file = files.at(-1) ?? "";
    // of a trail that nobody signed
    for (const one of await readdir(directory)) if (one.endsWith(".checkpoints")) await rm(join(directory, one));
    await edit(directory, file, (lines) => [
      ...lines.slice(0, -1),
      (lines.at(-1) ?? "").replace('"traceId"', '"trace"'),
    ]);
    expect((await verify(directory)).firstBad).toMatchObject({ file, reason: "the last line is not a record" });
  });

  test("a line without end", async () => {
    const { directory, files } = await trail();
    await appendFile(join(directory, files[1]!), "x".repeat(2_000_000));
    expect((await verify(directory)).firstBad).toMatchObject({ file: files[1], reason: "not a record" });
  });

  test.each([0, 1])("a removed segment (%i)", async (at) => {
    const { directory, files } = await trail();
    await rm(join(directory, files[at]!));
    expect((await verify(directory)).firstBad).toMatchObject({
      file: files[at + 1],
      line: 0,
      reason: `segment ${at + 1} is missing`,
    });
  });

  test("two segments that changed places", async () => {
    const { directory, files } = await trail();
    const [a, b] = [join(directory, files[0]!), join(directory, files[1]!)];
    await rename(a, `${a}.x`);
    await rename(b, a);
    await rename(`${a}.x`, b);
    expect((await verify(directory)).firstBad).toMatchObject({ file: files[0], line: 1 });
  });

  test("lines cut off a segment that is not the last", async () => {
    const { directory, files } = await trail();
    await edit(directory, files[1]!, (lines) => lines.slice(0, -1));
    expect((await verify(directory)).firstBad).toMatchObject({ file: files[2], line: 1 });
  });
});

test("any flipped bit is found, also in a chain's last line", async () => {
  const { directory, files } = await trail();
  const copy = join(await folder(), "copy");
  await mkdir(copy);
  const chain = files;
  for (const file of [...chain, notesOf(chain[0]!)]) await copyFile(join(directory, file), join(copy, file));
  const originals = await Promise.all(chain.map((file) => readFile(join(copy, file))));
  let flips = 0;
  for (const [at, bytes] of originals.entries()) {
    for (let byte = bytes.length - 1 - at * 5; byte >= 0; byte -= 97) {
      const changed = Buffer.from(bytes);
      changed[byte]! ^= 1 << (byte % 8);
      await writeFile(join(copy, chain[at]!), changed);
      const seen = await verify(copy);
      if (seen.ok) expect.unreachable(`bit ${byte % 8} of byte ${byte} of file ${at}`);
      flips++;
    }
    await writeFile(join(copy, chain[at]!), bytes);
  }
  expect(flips).toBeGreaterThan(200);
  expect(await verify(copy)).toMatchObject({ ok: true });
});

test("a last line torn by a crash is named, and no fault", async () => {
  const { directory, files } = await trail();
  const newest = (await spoolFiles(directory)).at(-1)!;
  for (const file of [files.at(-1)!, newest]) await appendFile(join(directory, file), '{"resourceSpans":[{"reso');
  expect(await verify(directory)).toMatchObject({
    ok: true,
    records: 18,
    chains: 2,
    firstBad: null,
    tornTail: [files.at(-1), newest],
    elsewhere: [],
  });
});

test("a fault in one chain does not hide the records of another", async () => {
  const { directory, files } = await trail();
  await edit(directory, files[0]!, ([, ...rest]) => rest);
  expect(await verify(directory)).toMatchObject({
    ok: false,
    records: 2,
    chains: 2,
    firstBad: { file: files[0], line: 1, sequence: 1 },
  });
});
