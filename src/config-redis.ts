/** The URL of a Redis, or of a Redis Cluster's nodes, as an operator writes it. */
import { z } from "zod";
import { REDIS_URL, redisUrlFault } from "./redis-url.ts";

export const redisUrl = z
  .string()
  .regex(REDIS_URL, "a redis:// or redis+cluster:// URL")
  .refine((url) => redisUrlFault(url) === null, { error: ({ input }) => redisUrlFault(String(input)) ?? "" });
