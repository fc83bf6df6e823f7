/** What those who are nobody can make the audit write: little, whatever they send. */
import { expect, test } from "vitest";
import { Refusal } from "../src/refusal.ts";
import {
  alice,
  auditing,
  faultyDisk,
  forbidden,
  lines,
  portsAhead,
  records,
  refuse,
  unauthenticated,
} from "./audit-parts.ts";

test("identical refusals of one address become two records: the first, and a count of the others", async () => {
  const room = await auditing({ foldIntervalMs: 2000 });
  for (let turn = 0; turn < 50; turn++) {
    expect(await refuse(room, unauthenticated())).toMatchObject({ refusal: { code: "unauthenticated" } });
  }
  expect(await records(room.directory)).toMatchObject([{ "portcullis.count": 1, "client.address": "192.0.2.1" }]);
  await expect
    .poll(() => records(room.directory))
    .toMatchObject([{ "portcullis.count": 1 }, { "portcullis.count": 49 }]);
});

test("what was counted is written when the audit closes", async () => {
  const room = await auditing();
  for (let turn = 0; turn < 3; turn++) await refuse(room, unauthenticated());
  await room.audit.close();
  expect((await records(room.directory)).map((one) => one["portcullis.count"])).toEqual([1, 2]);
});

test("a count that cannot be written is kept until it can", async () => {
  const { disk, faults } = faultyDisk();
  const { ports, skip } = portsAhead();
  const room = await auditing({ disk, foldIntervalMs: 20 }, ports);
  for (let turn = 0; turn < 3; turn++) await refuse(room, unauthenticated());
  faults.write = "ENOSPC";
  await expect.poll(() => room.audit.stats().failures).toBeGreaterThan(0);
  faults.write = null;
  skip(10_000);
  await expect.poll(async () => (await records(room.directory)).map((one) => one["portcullis.count"])).toEqual([1, 2]);
});

test("one IPv6 network counts as one address, and another code or address does not fold into it", async () => {
  const room = await auditing();
  for (const ip of ["2001:db8::1", "2001:db8:0:0:ffff::2", "2001:db8:0:1::1", "::ffff:192.0.2.9", "192.0.2.9"]) {
    await refuse(room, unauthenticated(), { ip });
  }
  await refuse(room, new Refusal("invalid_request", "Malformed."), { ip: "192.0.2.9" });
  expect((await records(room.directory)).map((one) => one["client.address"])).toEqual([
    "2001:db8::1",
    "2001:db8:0:1::1",
    "::ffff:192.0.2.9",
    "192.0.2.9",
  ]);
});

test("ten thousand addresses write a thousand records and one count", async () => {
  const room = await auditing();
  for (let turn = 0; turn < 10_000; turn++) {
    await refuse(room, unauthenticated(), { ip: `10.0.${turn >> 8}.${turn & 255}` });
  }
  expect(await lines(room.directory)).toHaveLength(1_001);
  await room.audit.close();
  expect((await records(room.directory)).at(-1)).toMatchObject({ "portcullis.count": 8_999 });
  expect((await records(room.directory)).at(-1)).not.toHaveProperty("client.address");
});

test("each refusal has one log line, a stranger's repetitions none", async () => {
  const logged: object[] = [];
  const room = await auditing(
    {},
    portsAhead({ info: (fields) => void logged.push(fields), warn: () => {}, error: () => {} }).ports,
  );
  const { call } = await refuse(room, forbidden(), {}, (one) => void (one.principal = alice));
  for (let turn = 0; turn < 5; turn++) await refuse(room, unauthenticated());
  expect(logged).toEqual([
    { callId: call.id, code: "forbidden", operation: "tools/call", principal: "alice" },
    { callId: expect.any(String) as string, code: "unauthenticated", operation: "tools/call", principal: null },
  ]);
});
