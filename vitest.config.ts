/**
 * How the tests run. One process per file, since the doors open sockets and the parts are processes of their own;
 * three at a time on the two cores of the machines that run them, since most of them wait most of the time. `FULL=1` runs the laws and floods at their full size.
 */
import { defineConfig } from "vitest/config";
import { closingLine } from "./test/support/report.ts";

const full = process.env["FULL"] === "1";

// oxlint-disable-next-line import/no-default-export -- vitest reads the default export of this file
export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    exclude: ["**/node_modules/**"],
    pool: "forks",
    maxWorkers: 3,
    testTimeout: full ? 240_000 : 60_000,
    hookTimeout: 60_000,
    expect: { poll: { timeout: 15_000 } },
    teardownTimeout: 10_000,
    passWithNoTests: false,
    allowOnly: process.env["CI"] !== "true",
    reporters: ["default", closingLine],
  },
});
