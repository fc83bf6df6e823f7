/** Nobody is answered before the line is where it was promised to be, whatever the disk does. */
import { appendFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { realDisk } from "../src/audit/disk.ts";
import type { SpoolDisk } from "../src/audit/disk.ts";
import { openSpool } from "../src/audit/spool.ts";
import type { SpoolOptions } from "../src/audit/spool.ts";
import { verify } from "../src/audit/verify.ts";
import { auditing, callOnce, faultyDisk, folder, lines, openLine, portsAhead, spoolFiles } from "./audit-parts.ts";

const named = async (directory: string) => (await lines(directory)).map((line) => /"name":"([^"]*)"/.exec(line)?.[1]);

async function spool(options: Partial<SpoolOptions> = {}) {
  const directory = options.directory ?? (await folder());
  const { ports, skip } = portsAhead();
  return { spool: openSpool({ flush: "write", ...options, directory }, ports), directory, skip };
}

const flushes = ["write", "fsync"] as const;

describe.each(flushes)("flush: %s", (flush) => {
  test("lines are on disk in order when their promises resolve, and verify", async () => {
    const { spool: one, directory } = await spool({ flush });
    await Promise.all(Array.from({ length: 100 }, (_, at) => one.append(openLine(`line ${at}`))));
    expect(await named(directory)).toEqual(Array.from({ length: 100 }, (_, at) => `line ${at}`));
    expect(await verify(directory)).toMatchObject({ ok: true, records: 100, chains: 1 });
    expect(one.stats()).toMatchObject({ writable: true, records: 100, sequence: 100, failures: 0, queued: 0 });
    await one.close();
  });

  test("segments are cut by size and carry the chain on; each start begins its own", async () => {
    const { spool: one, directory } = await spool({ flush, segmentBytes: 1_000 });
    for (let at = 0; at < 20; at++) await one.append(openLine(`a${at}`));
    await one.close();
    expect((await spoolFiles(directory)).length).toBeGreaterThan(3);
    const { spool: two } = await spool({ flush, directory });
    await two.append(openLine("b"));
    await two.close();
    expect(await verify(directory)).toMatchObject({ ok: true, records: 21, chains: 2 });
  });

  test("segments are cut by age, and one without a line is not", async () => {
    const { spool: one, directory, skip } = await spool({ flush });
    const numbers = async () => (await spoolFiles(directory)).map((file) => Number(file.slice(-12, -6)));
    await one.append(openLine("a"));
    skip(23 * 3_600_000);
    await one.append(openLine("b"));
    expect(await numbers()).toEqual([1]);
    skip(3_600_000);
    await one.append(openLine("c"));
    expect(await numbers()).toEqual([1, 2]);
    expect(await verify(directory)).toMatchObject({ ok: true, records: 3, chains: 1 });
    await one.close();
    const { spool: idle, directory: other, skip: later } = await spool({ flush });
    later(25 * 3_600_000);
    await idle.append(openLine("a"));
    expect((await spoolFiles(other)).map((file) => Number(file.slice(-12, -6)))).toEqual([1]);
    await idle.close();
  });

  test("a write that takes only part is finished", async () => {
    const { disk, faults } = faultyDisk();
    const { spool: one, directory } = await spool({ flush, disk });
    faults.most = 7;
    await Promise.all([one.append(openLine("a")), one.append(openLine("b"))]);
    expect(await named(directory)).toEqual(["a", "b"]);
    expect(await verify(directory)).toMatchObject({ ok: true, records: 2 });
    await one.close();
  });

  test.each(["ENOSPC", "EIO"])(
    "after %s nothing half-written stays, and the chain goes on in a new file when the disk is back",
    async (code) => {
      const { disk, faults } = faultyDisk();
      const { spool: one, directory, skip } = await spool({ flush, disk });
      await one.append(openLine("before"));
      faults.most = (await size(directory)) + 40;
      faults.write = code;
      await expect(one.append(openLine("lost"))).rejects.toMatchObject({ code });
      expect(await size(directory)).toBe((await lines(directory))[0]!.length + 1);
      expect(one.stats().writable).toBe(false);
      faults.write = null;
      faults.most = Infinity;
      await expect(one.append(openLine("too early"))).rejects.toThrow("waits");
      skip(5_000);
      expect(one.stats().writable).toBe(true);
      await one.append(openLine("after"));
      await one.close();
      expect(await named(directory)).toEqual(["before", "after"]);
      expect(await spoolFiles(directory)).toHaveLength(2);
      // where power may bring back what was cut, it must not meet a line of the same number
      expect(await verify(directory)).toMatchObject({ ok: true, records: 2, chains: flush === "fsync" ? 2 : 1 });
    },
  );

  test("where not even the cut succeeds, a new chain begins, so that no line is in doubt", async () => {
    const { disk, faults } = faultyDisk();
    const { spool: one, directory, skip } = await spool({ flush, disk });
    await one.append(openLine("before"));
    faults.most = (await size(directory)) + 40;
    Object.assign(faults, { write: "EIO", truncate: "EIO" });
    await expect(one.append(openLine("torn"))).rejects.toMatchObject({ code: "EIO" });
    Object.assign(faults, { write: null, truncate: null, most: Infinity });
    skip(5_000);
    await one.append(openLine("after"));
    await one.close();
    const seen = await verify(directory);
    expect(seen).toMatchObject({ ok: true, records: 2, chains: 2 });
    expect(seen.tornTail).toHaveLength(1);
  });

  test("a disk that stays full leaves one empty file, not one per attempt", async () => {
    const { disk, faults } = faultyDisk();
    const { spool: one, directory, skip } = await spool({ flush, disk });
    faults.write = "ENOSPC";
    for (let at = 0; at < 20; at++) {
      await expect(one.append(openLine("x"))).rejects.toThrow("ENOSPC");
      skip(5_000);
    }
    expect(await spoolFiles(directory)).toHaveLength(1);
    faults.write = null;
    await one.append(openLine("after"));
    expect(await verify(directory)).toMatchObject({ ok: true, records: 1, chains: 1 });
    await one.close();
  });

  test("it refuses while the disk is nearly full, and not after", async () => {
    const { disk, faults } = faultyDisk();
    const { spool: one, directory, skip } = await spool({ flush, disk, freeBytesMin: 1_000 });
    faults.free = 999;
    skip(5_000);
    await expect(one.append(openLine("x"))).rejects.toThrow("nearly full");
    expect(one.stats().writable).toBe(false);
    faults.free = 1_000;
    skip(5_000);
    expect(one.stats().writable).toBe(true);
    await one.append(openLine("y"));
    expect(await named(directory)).toEqual(["y"]);
    await one.close();
  });

  test("after close it refuses", async () => {
    const { spool: one } = await spool({ flush });
    await one.close();
    await expect(one.append(openLine("x"))).rejects.toThrow("closed");
  });
});

describe("flush: write", () => {
  test("lines of the same turn are one write, and none is durable before it", async () => {
    const writes: string[] = [];
    const disk: SpoolDisk = {
      ...realDisk,
      write: (fd, bytes) => (writes.push(bytes.toString("latin1")), realDisk.write(fd, bytes)),
    };
    const { spool: one, directory } = await spool({ flush: "write", disk });
    let durable = 0;
    const appended = ["a", "b", "c"].map((name) => one.append(openLine(name)).then(() => durable++));
    await Promise.resolve();
    expect([durable, writes]).toEqual([0, []]);
    await Promise.all(appended);
    expect(writes).toHaveLength(1);
    expect(await named(directory)).toEqual(["a", "b", "c"]);
    await one.close();
  });

  test("a turn with more lines than one write should carry makes several", async () => {
    const writes: number[] = [];
    const disk: SpoolDisk = {
      ...realDisk,
      write: (fd, bytes) => (writes.push(bytes.length), realDisk.write(fd, bytes)),
    };
    const { spool: one, directory } = await spool({ flush: "write", disk });
    const names = Array.from({ length: 1_500 }, (_, at) => `${at}`.padEnd(2_000, "x"));
    await Promise.all(names.map((name) => one.append(openLine(name))));
    expect(writes.length).toBeGreaterThan(2);
    expect(Math.max(...writes)).toBeLessThan(2 * 1024 * 1024);
    expect(await verify(directory)).toMatchObject({ ok: true, records: names.length });
    await one.close();
  });

  test("close waits for the lines of this turn", async () => {
    const { spool: one, directory } = await spool({ flush: "write" });
    const last = one.append(openLine("last"));
    await Promise.all([one.close(), last]);
    expect(await named(directory)).toEqual(["last"]);
  });
});

describe("flush: fsync", () => {
  /** A disk whose sync waits for the test. */
  function slowDisk() {
    const waiting: PromiseWithResolvers<void>[] = [];
    const writes: string[] = [];
    const disk: SpoolDisk = {
      ...realDisk,
      write: (fd, bytes) => (writes.push(bytes.toString("latin1")), realDisk.write(fd, bytes)),
      sync: () => {
        const turn = Promise.withResolvers<void>();
        waiting.push(turn);
        return turn.promise;
      },
      syncDirectory: async () => {},
    };
    const turn = async (at: number) => {
      await expect.poll(() => waiting.length).toBeGreaterThan(at);
      return waiting[at]!;
    };
    return { disk, writes, turn };
  }
  const settled = (promises: readonly Promise<void>[]) => {
    const done = promises.map(() => "waits");
    for (const [at, promise] of promises.entries())
      promise.then(
        () => (done[at] = "done"),
        () => (done[at] = "refused"),
      );
    return done;
  };

  test("nobody hears before the disk does, and what comes meanwhile is one write and one sync", async () => {
    const { disk, writes, turn } = slowDisk();
    const { spool: one, directory } = await spool({ flush: "fsync", disk });
    const first = settled([one.append(openLine("a")), one.append(openLine("b"))]);
    const running = await turn(0);
    const second = settled(["c", "d", "e"].map((name) => one.append(openLine(name))));
    expect(await named(directory)).toEqual(["a", "b"]);
    expect([...first, ...second]).toEqual(["waits", "waits", "waits", "waits", "waits"]);
    running.resolve();
    (await turn(1)).resolve();
    await one.close();
    expect([...first, ...second]).toEqual(["done", "done", "done", "done", "done"]);
    expect(writes).toHaveLength(2);
  });

  test("a failed sync refuses its lines and takes them back; the same file is not written again", async () => {
    const { disk, turn } = slowDisk();
    const { spool: one, directory, skip } = await spool({ flush: "fsync", disk });
    const kept = one.append(openLine("kept"));
    (await turn(0)).resolve();
    await kept;
    const lost = one.append(openLine("lost"));
    (await turn(1)).reject(Object.assign(new Error("EIO"), { code: "EIO" }));
    await expect(lost).rejects.toMatchObject({ code: "EIO" });
    expect(await named(directory)).toEqual(["kept"]);
    skip(5_000);
    const after = one.append(openLine("after"));
    (await turn(2)).resolve();
    await after;
    await one.close();
    expect(await spoolFiles(directory)).toHaveLength(2);
    expect(await verify(directory)).toMatchObject({ ok: true, records: 2, chains: 2 });
  });

  test("the directory is synced with each new file, before anyone hears", async () => {
    const calls: string[] = [];
    const disk: SpoolDisk = {
      ...realDisk,
      sync: async () => void calls.push("file"),
      syncDirectory: async () => void calls.push("directory"),
    };
    const { spool: one } = await spool({ flush: "fsync", disk, segmentBytes: 1 });
    await one.append(openLine("a"));
    await one.append(openLine("b"));
    // with a chain's first file also the folders above: they may be as new
    expect(calls).toEqual(["file", "directory", "directory", "directory", "file", "directory"]);
    await one.close();
  });

  test("the queue is bounded", async () => {
    const { disk, turn } = slowDisk();
    const { spool: one } = await spool({ flush: "fsync", disk });
    const first = settled([one.append(openLine("a"))]);
    const running = await turn(0);
    const queued = Array.from({ length: 10_000 }, () => one.append(openLine("x")));
    await expect(one.append(openLine("one too many"))).rejects.toThrow("queue is full");
    running.resolve();
    (await turn(1)).resolve();
    for (let at = 2; one.stats().queued > 0; at++) (await turn(at)).resolve();
    await Promise.all(queued);
    expect(first).toEqual(["done"]);
    await one.close();
  });
});

describe("on disk", () => {
  test("files are readable by their owner alone", async () => {
    const directory = join(await folder(), "data", "audit");
    const { spool: one } = await spool({ directory });
    await one.append(openLine("x"));
    await one.close();
    expect((await stat(directory)).mode & 0o777).toBe(0o700);
    const [file = ""] = await spoolFiles(directory);
    expect((await stat(join(directory, file))).mode & 0o777).toBe(0o600);
    expect(file).toMatch(/^gateway-[0-9a-f]{20}-000001\.jsonl$/);
  });

  test("where nothing can be written, it does not start", async () => {
    const directory = await folder();
    await appendFile(join(directory, "file"), "");
    await expect(spool({ directory: join(directory, "file", "audit") })).rejects.toThrow("ENOTDIR");
  });
});

async function size(directory: string): Promise<number> {
  const [file = ""] = await spoolFiles(directory);
  return (await stat(join(directory, file))).size;
}

test("an audit under a disk that comes and goes keeps one verifiable trail of every answered call", async () => {
  const { disk, faults } = faultyDisk();
  const { ports, skip } = portsAhead();
  const room = await auditing({ disk, segmentBytes: 10_000 }, ports);
  let answered = 0;
  for (let turn = 0; turn < 60; turn++) {
    faults.write = turn % 7 === 3 ? "ENOSPC" : null;
    faults.open = turn % 11 === 5 ? "EMFILE" : null;
    if ((await callOnce(room)).ok) answered++;
    skip(5_000);
  }
  expect(answered).toBeGreaterThan(30);
  const seen = await verify(room.directory);
  expect(seen.ok).toBe(true);
  expect(seen.records).toBeGreaterThanOrEqual(answered * 2);
});
