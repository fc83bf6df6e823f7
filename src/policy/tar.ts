/**
 * What is in this archive? As much of tar as bundles need: plain files with long names, nothing else. What surprises:
 * links, devices and whatever else a tar can hold are refused, and so is what expands beyond the bound: an archive
 * from elsewhere is hostile until its signature is checked, and to check that it must be read.
 */
import { promisify } from "node:util";
import { gunzip, gzip } from "node:zlib";
import { fault, PolicyRefused } from "./diagnostic.ts";

export type Files = ReadonlyMap<string, Buffer>;

const BLOCK = 512;
const BYTES_MAX = 16 * 1024 * 1024;
const FILES_MAX = 5_000;
/** Folders and the long names of files stand in headers of their own. */
const HEADERS_MAX = 3 * FILES_MAX;
/** The time of every file, so that the same bundle is the same bytes. */
const EPOCH = "00000000000";

/** The tar archive in it, at most 16 MiB. @throws PolicyRefused */
export async function expand(bytes: Buffer): Promise<Buffer> {
  return await promisify(gunzip)(bytes, { maxOutputLength: BYTES_MAX }).catch(() => {
    throw broken("it is no gzip archive, or larger than 16 MiB");
  });
}

/** By path, without a leading slash or `./`. @throws PolicyRefused */
export function filesIn(tar: Buffer): Files {
  const files = new Map<string, Buffer>();
  let name: string | null = null;
  let headers = 0;
  for (let at = 0; ;) {
    if (++headers > HEADERS_MAX) throw broken(`it holds more than ${HEADERS_MAX} headers`);
    const header = tar.subarray(at, at + BLOCK);
    // without the empty block at its end, nobody knows what is missing
    if (header.length < BLOCK) throw broken("the tar archive is cut short or not sound");
    if (header.every((byte) => byte === 0)) return files;
    const size = octal(header, 124, 12);
    const body = tar.subarray(at + BLOCK, at + BLOCK + size);
    if (body.length < size || !isSound(header)) throw broken("the tar archive is cut short or not sound");
    at += BLOCK + Math.ceil(size / BLOCK) * BLOCK;
    const kind = String.fromCharCode(header[156] ?? 0);
    // the name of the next one, in the ways of pax and of GNU
    if (kind === "x") name = paxPath(body) ?? name;
    else if (kind === "L") name = text(body, 0, body.length);
    else if (kind === "0" || kind === "\0") {
      const path = plain(name ?? nameOf(header));
      name = null;
      if (files.has(path)) throw broken(`two files have the path ${path}`);
      files.set(path, body);
    } else if (kind !== "5" && kind !== "g") throw broken("it holds something that is neither a file nor a folder");
    else name = null;
    if (files.size > FILES_MAX) throw broken(`it holds more than ${FILES_MAX} files`);
  }
}

/** The same files are the same bytes. */
export async function writeArchive(files: Files): Promise<Buffer> {
  const blocks: Buffer[] = [];
  for (const [path, body] of files) {
    if (Buffer.byteLength(path) >= 100)
      blocks.push(headerOf("pax", paxRecord(path).length, "x"), padded(paxRecord(path)));
    blocks.push(headerOf(path, body.length, "0"), padded(body));
  }
  return await promisify(gzip)(Buffer.concat([...blocks, Buffer.alloc(2 * BLOCK)]));
}

function broken(message: string): PolicyRefused {
  return new PolicyRefused([fault("bundle_broken", message)]);
}

function text(from: Buffer, start: number, length: number): string {
  const field = from.subarray(start, start + length);
  const end = field.indexOf(0);
  return field.toString("utf8", 0, end === -1 ? length : end);
}

function octal(header: Buffer, start: number, length: number): number {
  const digits = text(header, start, length).trim();
  if (!/^[0-7]{1,11}$/.test(digits)) throw broken("the tar archive is not sound");
  return Number.parseInt(digits, 8);
}

/** The sum of the header, its own field counted as blanks. */
function isSound(header: Buffer): boolean {
  return octal(header, 148, 8) === sumOf(header);
}

function sumOf(header: Buffer): number {
  // a plain loop: it is ten times as fast, and this is done before anybody knows whose archive it is
  let sum = 8 * 0x20;
  for (let at = 0; at < BLOCK; at++) if (at < 148 || at >= 156) sum += header[at] as number;
  return sum;
}

function nameOf(header: Buffer): string {
  const prefix = text(header, 257, 5) === "ustar" ? text(header, 345, 155) : "";
  return `${prefix === "" ? "" : `${prefix}/`}${text(header, 0, 100)}`;
}

function plain(path: string): string {
  const trimmed = path.replace(/^(?:\.?\/)+/, "");
  if (trimmed === "" || trimmed.split("/").some((step) => step === ".."))
    throw broken("a path leads out of the bundle");
  return trimmed;
}

/** Records such as `28 path=a/long/path\n`, the length counting itself. */
function paxPath(body: Buffer): string | null {
  const [, path] = /(?:^|\n)\d+ path=([^\n]*)\n/.exec(body.toString("utf8")) ?? [];
  return path ?? null;
}

function paxRecord(path: string): Buffer {
  const rest = ` path=${path}\n`;
  let length = Buffer.byteLength(rest);
  while (String(length).length + Buffer.byteLength(rest) !== length) length++;
  return Buffer.from(`${length}${rest}`);
}

function headerOf(path: string, size: number, kind: string): Buffer {
  const header = Buffer.alloc(BLOCK);
  header.write(path.slice(0, 99), 0);
  header.write("0000644\x000000000\x000000000\x00", 100);
  header.write(`${size.toString(8).padStart(11, "0")}\0${EPOCH}\0`, 124);
  header.write(" ".repeat(8), 148);
  header.write(kind, 156);
  header.write("ustar\x0000", 257);
  header.write(`${sumOf(header).toString(8).padStart(6, "0")}\0 `, 148);
  return header;
}

function padded(body: Buffer): Buffer {
  return Buffer.concat([body, Buffer.alloc((BLOCK - (body.length % BLOCK)) % BLOCK)]);
}
