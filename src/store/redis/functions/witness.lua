-- The witness -----------------------------------------------------------------------------

-- keys: b; args: number. Answers whether it was taken.
local function tell(keys, args)
  return takes(keys[1], args[1]) and 1 or 0
end

-- keys: b, ann
local function suspect(keys)
  redis.call('HSETNX', keys[1], 'suspect', redis.call('GET', keys[2]) or 0)
end

-- keys: b; args: number
local function settle(keys, args)
  local known = tonumber(redis.call('HGET', keys[1], 'n') or 0)
  redis.call('HSET', keys[1], 'n', decimal(math.max(known, tonumber(args[1]))))
  redis.call('HDEL', keys[1], 'suspect')
end

