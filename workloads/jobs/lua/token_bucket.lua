-- Takes tokens out of a token bucket: up to ARGV[1], at least one if there is one.
-- ARGV: tokens asked for, refill rate in tokens a second, capacity of the bucket.
-- Returns the tokens taken, or, as a negative number, the milliseconds until there is one.
-- Uses the clock of Redis, so that all callers share one.
local asked, rate, burst = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local time = redis.call('TIME')
local now = time[1] * 1000 + time[2] / 1000
local bucket = redis.call('HMGET', KEYS[1], 'tokens', 'at')
local tokens = tonumber(bucket[1]) or burst
local at = tonumber(bucket[2]) or now
tokens = math.min(burst, tokens + math.max(0, now - at) * rate / 1000)
if tokens < 1 then
  -- Nothing is written: the refill follows from the last change and the clock.
  return -math.max(1, math.ceil((1 - tokens) * 1000 / rate))
end
local taken = math.min(asked, math.floor(tokens))
redis.call('HSET', KEYS[1], 'tokens', tostring(tokens - taken), 'at', string.format('%.3f', now))
redis.call('PEXPIRE', KEYS[1], math.ceil(burst * 1000 / rate) + 1000)
return taken
