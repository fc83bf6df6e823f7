/** A collector on loopback that speaks OTLP as protobuf, over HTTP and over gRPC, as far as traces need it. */
import { Server, ServerCredentials, status as grpcStatus } from "@grpc/grpc-js";
import { createServer } from "node:http";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { onTestFinished } from "vitest";

export type Received = {
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId: string;
  readonly name: string;
  readonly kind: number;
  readonly start: string;
  readonly end: string;
  readonly flags: number;
  readonly status: { readonly code: number; readonly message: string };
  readonly attributes: { readonly [name: string]: unknown };
};

/** Answers the given statuses first, then 200, and keeps what it accepted. */
export async function collector(statuses: readonly number[] = []) {
  const spans: Received[] = [];
  const requests: IncomingMessage[] = [];
  const scopes = new Set<string>();
  const ahead = [...statuses];
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", () => {
      requests.push(request);
      const status = ahead.shift() ?? 200;
      if (status === 200) spans.push(...spansIn(Buffer.concat(chunks), scopes));
      response.writeHead(status).end();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => void server.close());
  return { spans, requests, scopes, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` };
}

/** The same over gRPC: UNAVAILABLE so many times first. */
export async function grpcCollector(refusals = 0) {
  const spans: Received[] = [];
  const metadata: { readonly [name: string]: unknown }[] = [];
  let left = refusals;
  const server = new Server();
  const bytes = { serialize: (value: Buffer) => value, deserialize: (value: Buffer) => value };
  const path = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
  server.addService(
    {
      export: {
        path,
        requestStream: false,
        responseStream: false,
        requestSerialize: bytes.serialize,
        requestDeserialize: bytes.deserialize,
        responseSerialize: bytes.serialize,
        responseDeserialize: bytes.deserialize,
      },
    },
    {
      export: (call: { request: Buffer; metadata: { getMap: () => object } }, reply: Reply) => {
        metadata.push({ ...call.metadata.getMap() });
        if (left-- > 0) return reply({ code: grpcStatus.UNAVAILABLE });
        spans.push(...spansIn(call.request, new Set()));
        reply(null, Buffer.alloc(0));
      },
    },
  );
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, bound) =>
      error === null ? resolve(bound) : reject(error),
    );
  });
  onTestFinished(() => server.forceShutdown());
  return { spans, metadata, url: `http://127.0.0.1:${port}` };
}
type Reply = (error: { readonly code: number } | null, value?: Buffer) => void;

/** Listens on a port of its choice and does what it is told with each request; `fall(null)` makes it well. */
export async function fickleCollector() {
  const spans: Received[] = [];
  let ill: Fault | null = null;
  let requests = 0;
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", () => {
      requests++;
      if (ill === null) spans.push(...spansIn(Buffer.concat(chunks), new Set()));
      (ill ?? ((into) => into.writeHead(200).end()))(response);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => server.close().closeAllConnections());
  const { port } = server.address() as AddressInfo;
  const fall = (fault: Fault | null) => void (ill = fault);
  return { spans, fall, requests: () => requests, url: `http://127.0.0.1:${port}` };
}
export type Fault = (response: ServerResponse) => void;

// ---- protobuf, as far as OTLP traces need it ------------------------------------------------------

type Field = { readonly number: number; readonly bytes: Buffer; readonly value: bigint };

function* fieldsIn(bytes: Buffer): Generator<Field> {
  let at = 0;
  const varint = (): bigint => {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const byte = bytes[at++] ?? 0;
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
  };
  while (at < bytes.length) {
    const key = Number(varint());
    const [number, type] = [key >> 3, key & 7];
    if (type === 0) yield { number, bytes: Buffer.alloc(0), value: varint() };
    else {
      const length = type === 1 ? 8 : type === 5 ? 4 : Number(varint());
      const part = bytes.subarray(at, at + length);
      at += length;
      yield {
        number,
        bytes: part,
        value: type === 1 ? part.readBigUInt64LE() : type === 5 ? BigInt(part.readUInt32LE()) : 0n,
      };
    }
  }
}

const all = (bytes: Buffer, number: number) => [...fieldsIn(bytes)].filter((field) => field.number === number);
const only = (bytes: Buffer, number: number) => all(bytes, number)[0];
const textIn = (bytes: Buffer, number: number) => only(bytes, number)?.bytes.toString("utf8") ?? "";

function spansIn(request: Buffer, scopes: Set<string>): readonly Received[] {
  return all(request, 1).flatMap(({ bytes: resource }) => {
    for (const [name, value] of attributesIn(only(resource, 1)?.bytes ?? Buffer.alloc(0), 1))
      scopes.add(`${name}=${String(value)}`);
    return all(resource, 2).flatMap(({ bytes: scope }) => {
      const named = only(scope, 1)?.bytes ?? Buffer.alloc(0);
      scopes.add(`${textIn(named, 1)} ${textIn(named, 2)}`);
      return all(scope, 2).map(({ bytes }) => spanIn(bytes));
    });
  });
}

function spanIn(bytes: Buffer): Received {
  const status = only(bytes, 15)?.bytes ?? Buffer.alloc(0);
  return {
    traceId: only(bytes, 1)?.bytes.toString("hex") ?? "",
    spanId: only(bytes, 2)?.bytes.toString("hex") ?? "",
    parentSpanId: only(bytes, 4)?.bytes.toString("hex") ?? "",
    name: textIn(bytes, 5),
    kind: Number(only(bytes, 6)?.value),
    start: String(only(bytes, 7)?.value),
    end: String(only(bytes, 8)?.value),
    flags: Number(only(bytes, 16)?.value),
    status: { code: Number(only(status, 3)?.value ?? 0), message: textIn(status, 2) },
    attributes: Object.fromEntries(attributesIn(bytes, 9)),
  };
}

function attributesIn(bytes: Buffer, number: number): readonly (readonly [string, unknown])[] {
  return all(bytes, number).map(({ bytes: pair }) => [
    textIn(pair, 1),
    valueIn(only(pair, 2)?.bytes ?? Buffer.alloc(0)),
  ]);
}

function valueIn(bytes: Buffer): unknown {
  const [field] = fieldsIn(bytes);
  if (field?.number === 5) return all(field.bytes, 1).map((item) => valueIn(item.bytes));
  return field?.number === 3 ? Number(field.value) : field?.bytes.toString("utf8");
}
