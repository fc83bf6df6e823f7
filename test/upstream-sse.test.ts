/** Event streams are read the same however their bytes are cut, and never without bounds. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { readSse } from "../src/upstream/sse.ts";
import { readLines } from "../src/upstream/lines.ts";
import { codeOf } from "./support/upstreams/calling.ts";

function read(chunks: readonly Buffer[], eventBytesMax = 1000): string[] {
  const events: string[] = [];
  const reader = readSse(eventBytesMax, (data) => events.push(data.toString("utf8")));
  for (const chunk of chunks) reader.push(chunk);
  return events;
}

const cut = (bytes: Buffer, at: readonly number[]): Buffer[] => {
  const marks = [0, ...at.map((mark) => mark % (bytes.length + 1)).toSorted((a, b) => a - b), bytes.length];
  return marks.slice(1).map((mark, index) => bytes.subarray(marks[index], mark));
};

describe("an event stream", () => {
  test.each([
    ["data: a\n\n", ["a"]],
    ["data: a\r\n\r\n", ["a"]],
    ["data: a\r\r", ["a"]],
    ["data:a\n\n", ["a"]],
    ["data:  a\n\n", [" a"]],
    ["data: a\ndata: b\n\n", ["a\nb"]],
    ["data: a\r\ndata: b\r\n\r\n", ["a\nb"]],
    ["data\n\n", []],
    ["id: 1\ndata: \n\ndata: a\n\n", ["a"]],
    [": comment\n\ndata: a\n\n", ["a"]],
    ["event: message\nid: 1\nretry: 5\ndata: a\n\n", ["a"]],
    ["id: 1\n\ndata: a\n\n", ["a"]],
    ["\uFEFFdata: a\n\n", ["a"]],
    ["data: é☂😀\n\n", ["é☂😀"]],
    ["database: no\ndata: a\n\n", ["a"]],
    ["data: a\n", []],
    ["data: a", []],
    ["data: a\n\ndata: b\r\n\r\ndata: c\r\r", ["a", "b", "c"]],
  ])("%j is read as %j, wherever it is cut", (text, events) => {
    const bytes = Buffer.from(text);
    expect(read([bytes])).toEqual(events);
    expect(read([...bytes].map((byte) => Buffer.from([byte])))).toEqual(events);
    fc.assert(
      fc.property(fc.array(fc.nat(), { maxLength: 5 }), (at) => {
        expect(read(cut(bytes, at))).toEqual(events);
      }),
    );
  });

  test("is refused when one line is over its bound, before it ends", () => {
    expect(() => read([Buffer.from("data: "), Buffer.alloc(2000, 97)])).not.toThrow();
    expect(catching(() => read([Buffer.from(`data: ${"a".repeat(2000)}\n\n`)]))).toBe("upstream_error");
  });

  test("is refused when one event of many lines is over its bound", () => {
    expect(catching(() => read([Buffer.from("data: aaaaaaaa\n".repeat(200))]))).toBe("upstream_error");
    expect(catching(() => read([Buffer.from("data\n".repeat(200))]))).toBe("upstream_error");
  });
});

describe("a line over the cap", () => {
  test("keeps its ends and nothing more, and the next line is whole again", () => {
    const whole: string[] = [];
    const long: [Buffer, Buffer][] = [];
    const lines = readLines({
      lineBytesMax: 10,
      carriageReturn: false,
      onLine: (line) => whole.push(line.toString()),
      onLong: (head, tail) => long.push([head, tail]),
    });
    lines.push(Buffer.from("short\nHEAD"));
    for (let at = 0; at < 5000; at++) lines.push(Buffer.alloc(1000, 120));
    lines.push(Buffer.from("TAIL\nnext\n"));
    expect(whole).toEqual(["short", "next"]);
    expect(long).toHaveLength(1);
    expect(long[0]?.[0].toString()).toBe("HEAD");
    expect(long[0]?.[1].length).toBe(2048);
    expect(long[0]?.[1].toString().endsWith("TAIL")).toBe(true);
  });
});

function catching(action: () => void): string {
  try {
    action();
    return "nothing";
  } catch (thrown) {
    return codeOf(thrown);
  }
}
