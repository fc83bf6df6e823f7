/** `serve · control · sidecar`: which planes run in this process? */
import { flag } from "./io.ts";
import type { Invocation } from "./io.ts";

export function serve({ io, config }: Invocation): Promise<number> {
  return io.serve({ configFile: config, role: "serve" });
}

export function control({ io, config }: Invocation): Promise<number> {
  return io.serve({ configFile: config, role: "control" });
}

/** All that a sidecar needs may stand on its command line: then it needs no file. */
export async function sidecar(invocation: Invocation): Promise<number> {
  const { io, config, flags } = invocation;
  const there = flags["config"] !== undefined || (await io.ports.disk.stat(config).catch(() => null)) !== null;
  return io.serve({
    configFile: there ? config : null,
    role: "sidecar",
    control: { url: flag(invocation, "control"), keyFile: flag(invocation, "key-file") },
  });
}
