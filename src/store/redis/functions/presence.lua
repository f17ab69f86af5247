-- Presence --------------------------------------------------------------------------------

-- nodes: process -> until when it counts as alive. The people at a process are a set beside it.
local function people(node)
  return 'at{here}:' .. node
end

local function living(nodes)
  return redis.call('ZRANGE', nodes, '(' .. decimal(now_ms()), '+inf', 'BYSCORE')
end

-- Those of the users from the first on who are at none of the processes but `except`.
local function nowhere(users, first, nodes, except)
  local alone = {}
  for i = first, #users do
    local is_somewhere = false
    for _, node in ipairs(nodes) do
      if node ~= except and redis.call('SISMEMBER', people(node), users[i]) == 1 then
        is_somewhere = true
        break
      end
    end
    if not is_somewhere then
      alone[#alone + 1] = users[i]
    end
  end
  return alone
end

-- Says that a process lives, for a while. Answers whether it was known to.
-- keys: nodes; args: process, milliseconds
local function alive(keys, args)
  local now = now_ms()
  local till = tonumber(redis.call('ZSCORE', keys[1], args[1]) or '0')
  redis.call('ZADD', keys[1], decimal(now + tonumber(args[2])), args[1])
  return till > now and 1 or 0
end

-- Answers those of the users who were nowhere.
-- keys: nodes; args: process, users
local function arrive(keys, args)
  local own, new = people(args[1]), {}
  for _, user in ipairs(nowhere(args, 2, living(keys[1]), args[1])) do
    if redis.call('SISMEMBER', own, user) == 0 then
      new[#new + 1] = user
    end
  end
  redis.call('SADD', own, unpack(args, 2))
  return new
end

-- Answers those of the users who were here and are nowhere now.
-- keys: nodes; args: process, users
local function depart(keys, args)
  local own, left = people(args[1]), {}
  for i = 2, #args do
    if redis.call('SREM', own, args[i]) == 1 then
      left[#left + 1] = args[i]
    end
  end
  return nowhere(left, 1, living(keys[1]), args[1])
end

-- Takes people off one process that lives no more. Answers those who are nowhere now.
-- keys: nodes; args: how many
local function bury(keys, args)
  local dead = redis.call('ZRANGE', keys[1], '-inf', decimal(now_ms()), 'BYSCORE', 'LIMIT', 0, 1)[1]
  if not dead then
    return {}
  end
  local left = redis.call('SPOP', people(dead), args[1])
  if #left < tonumber(args[1]) then
    redis.call('ZREM', keys[1], dead)
  end
  return nowhere(left, 1, living(keys[1]), dead)
end

-- Answers those of the users who are somewhere.
-- keys: nodes; args: users
local function online(keys, args)
  local here, found = {}, {}
  for _, node in ipairs(living(keys[1])) do
    for i, is_there in ipairs(redis.call('SMISMEMBER', people(node), unpack(args))) do
      here[i] = here[i] or is_there == 1
    end
  end
  for i, user in ipairs(args) do
    if here[i] then
      found[#found + 1] = user
    end
  end
  return found
end

