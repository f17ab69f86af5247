-- Leases ----------------------------------------------------------------------------------

-- Says that a process lives, for a while; a while of 0 ends it. Answers all that live.
-- keys: nodes; args: process, milliseconds
local function beat(keys, args)
  local now = now_ms()
  redis.call('ZADD', keys[1], decimal(now + tonumber(args[2])), args[1])
  redis.call('ZREMRANGEBYSCORE', keys[1], '-inf', decimal(now))
  return redis.call('ZRANGE', keys[1], 0, -1)
end

-- Takes or renews the leases of the wanted digits that are free, gives the others back. Answers
-- the digits held.
-- keys: owners; args: process, milliseconds, wanted digits
local function lease(keys, args)
  local now, held = now_ms(), ''
  for digit in string.gmatch('0123456789abcdef', '.') do
    local lease = redis.call('HGET', keys[1], digit) or ' 0'
    local owner, till = string.match(lease, '^(%S*) (%d+)$')
    local is_wanted = string.find(args[3], digit, 1, true)
    if is_wanted and (owner == args[1] or tonumber(till) <= now) then
      redis.call('HSET', keys[1], digit, args[1] .. ' ' .. decimal(now + tonumber(args[2])))
      held = held .. digit
    elseif owner == args[1] then
      redis.call('HDEL', keys[1], digit)
    end
  end
  return held
end

