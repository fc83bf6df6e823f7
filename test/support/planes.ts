/** A control plane and the sidecars that follow it, each a whole gateway with a folder of its own. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { createTRPCClient, httpLink } from "@trpc/client";
import type { TRPCClient } from "@trpc/client";
import type { AdminRouter } from "portcullis/admin";
import type { Ports } from "../../src/ports.ts";
import { dial } from "../../src/snapshot/reach.ts";
import { startGateway } from "./gateway.ts";
import type { TestGateway } from "./gateway.ts";

export type Admin = TRPCClient<AdminRouter>;

/** As the owner of its socket, unless the headers say otherwise. */
export function adminOf({ socket }: { readonly socket: string }, headers: Record<string, string> = {}): Admin {
  return createTRPCClient<AdminRouter>({
    links: [
      httpLink({ url: "http://portcullis/trpc", headers, methodOverride: "POST", fetch: dial({ socket }, 10_000) }),
    ],
  });
}

/** `folder`: to start again where an earlier one stopped. */
export function startControl(
  changes: object = {},
  ports: Partial<Ports> = {},
  place: { readonly folder?: string } = {},
): Promise<TestGateway> {
  return startGateway(changes, { ...ports, plane: { role: "control", ...place } });
}

export type SidecarWish = {
  readonly name?: string;
  readonly config?: object;
  readonly ports?: Partial<Ports>;
  /** To start again where an earlier one stopped; its key file is in it. */
  readonly folder?: string;
  /** Instead of the control plane's own address. */
  readonly url?: string;
  readonly signal?: AbortSignal;
};

/** The file that `keys issue --sidecar` prints. */
export async function keyFileOf(
  control: TestGateway,
  name: string,
): Promise<{ readonly id: string; readonly file: string }> {
  const { id, text, pins } = await adminOf(control).keys.issue.mutate({ sidecar: name });
  const file = join(control.folder, `${name}.key`);
  await writeFile(file, [text, ...pins, ""].join("\n"), { mode: 0o600 });
  return { id, file };
}

export async function startSidecar(control: TestGateway, wish: SidecarWish = {}): Promise<TestGateway> {
  const { name = "edge-1", config = {}, ports = {}, folder, url = `http://${control.admin}` } = wish;
  const file = folder === undefined ? (await keyFileOf(control, name)).file : join(control.folder, `${name}.key`);
  const { signal } = wish;
  const plane = {
    role: "sidecar" as const,
    ...(signal === undefined ? {} : { signal }),
    control: { url, keyFile: file },
    ...(folder === undefined ? {} : { folder }),
  };
  return startGateway(config, { ...ports, plane });
}
