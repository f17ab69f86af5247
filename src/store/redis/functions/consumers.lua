-- Consumers -------------------------------------------------------------------------------

-- The consumers of a stream with how far they are: name, pending, and delivered, a position. Nil if
-- there is no stream.
local function progress(stream)
  local groups, consumers = redis.pcall('XINFO', 'GROUPS', stream), {}
  if groups.err then
    return nil
  end
  for i, group in ipairs(groups) do
    consumers[i] = {
      name = field(group, 'name'),
      pending = field(group, 'pending'),
      delivered = field(group, 'last-delivered-id'),
    }
  end
  return consumers
end

-- Whether all these consumers, who are so many if nobody is missing, have acknowledged everything
-- in the stream.
local function is_handled(stream, consumers, number)
  for _, consumer in ipairs(consumers) do
    if consumer.pending > 0 or is_below(consumer.delivered, consumers[1].delivered) then
      return false
    end
  end
  local last = redis.call('XREVRANGE', stream, '+', '-', 'COUNT', 1)[1]
  for _, consumer in ipairs(consumers) do
    if last and is_below(consumer.delivered, last[1]) then
      return false
    end
  end
  return #consumers >= number
end

-- Whether all consumers but this one were given what stands at a position.
local function is_known_to_others(consumers, name, pos)
  for _, consumer in ipairs(consumers) do
    if consumer.name ~= name and is_below(consumer.delivered, pos) then
      return false
    end
  end
  return true
end

-- The id after this one.
local function after(pos)
  local epoch, seq = parts(pos)
  return decimal(epoch) .. '-' .. decimal(seq + 1)
end

-- The first id that is still needed: not stored, or not handled by some consumer.
local function first_needed(stream, head, consumers, number)
  local needed = after(head.w)
  if #consumers < number then
    return '0-0'
  end
  for _, consumer in ipairs(consumers) do
    local first = consumer.pending > 0 and redis.call('XPENDING', stream, consumer.name)[2]
      or after(consumer.delivered)
    if is_below(first, needed) then
      needed = first
    end
  end
  return needed
end

-- The first id of the live window: the newest of what is stored, so that a message store that comes
-- back older than it was finds it here. Nil if nothing of it is in the stream.
local function first_live(stream, head)
  local first, bytes = nil, 0
  for _, entry in ipairs(redis.call('XREVRANGE', stream, head.w, '-', 'COUNT', LIVE_EVENTS)) do
    bytes = bytes + #field(entry[2], 'm') + #field(entry[2], 'b')
    if first and bytes > LIVE_BYTES then
      break
    end
    first = entry[1]
  end
  return first
end

-- Whether the message store is older than what it confirmed: then nothing leaves a stream.
local function is_suspect(witness)
  return redis.call('HEXISTS', witness, 'suspect') == 1
end

-- Cuts off what nobody needs and is too old for the live window. Never MAXLEN: it would drop what
-- is not handled. Keys are named as in ack.
local function trim(keys, consumers, number)
  local stream = keys[1]
  local length = redis.call('XLEN', stream)
  if length <= LIVE_EVENTS + SLACK_EVENTS
    and (length <= 1 or redis.call('MEMORY', 'USAGE', stream) <= 2 * LIVE_BYTES) then
    return
  end
  local head = read_head(keys[3])
  local live = head and not is_suspect(keys[5]) and first_live(stream, head)
  if not live then
    return
  end
  local needed = first_needed(stream, head, consumers, number)
  redis.call('XTRIM', stream, 'MINID', is_below(needed, live) and needed or live)
end

-- Only what all others know can be freed by it.
-- keys: s, a, h, i, b; args: consumer, number of consumers, group, milliseconds until it is idle,
-- positions, rising
local function ack(keys, args)
  for i = 5, #args, CHUNK do
    redis.call('XACK', keys[1], args[1], unpack(args, i, math.min(i + CHUNK - 1, #args)))
  end
  local consumers, number = progress(keys[1]), tonumber(args[2])
  if not consumers or is_handled(keys[1], consumers, number) then
    redis.call('SREM', keys[2], args[3])
    redis.call('ZADD', keys[4], decimal(now_ms() + tonumber(args[4])), args[3])
  end
  if consumers and args[5] and is_known_to_others(consumers, args[1], args[5]) then
    trim(keys, consumers, number)
  end
  return 1
end

-- Groups that may count as idle by now, the longest idle first.
-- keys: i; args: how many
local function idle(keys, args)
  return redis.call('ZRANGE', keys[1], '-inf', decimal(now_ms()), 'BYSCORE', 'LIMIT', 0, args[1])
end

-- Empties the stream of an idle group if all of it is handled and stored, and forgets client_ids:
-- all were remembered long enough. The stream keeps its last id and its consumers.
-- keys: s, h, d0, d1, i, b; args: number of consumers, group
local function empty(keys, args)
  local head, consumers = read_head(keys[2]), progress(keys[1])
  if not head or not consumers then
    redis.call('ZREM', keys[5], args[2])
    return 0
  end
  local last = redis.call('XREVRANGE', keys[1], '+', '-', 'COUNT', 1)[1]
  if not is_handled(keys[1], consumers, tonumber(args[1])) or (last and is_below(head.w, last[1]))
    or is_suspect(keys[6]) then
    redis.call('ZADD', keys[5], decimal(now_ms() + LATER_MS), args[2])
    return 0
  end
  if last then
    redis.call('XTRIM', keys[1], 'MINID', after(last[1]))
  end
  redis.call('UNLINK', keys[3], keys[4])
  redis.call('HSET', keys[3], 'from', head.pos .. ' ' .. decimal(now_ms()))
  head.y = '0'
  write_head(keys[2], head)
  redis.call('ZREM', keys[5], args[2])
  return 1
end

-- Takes over what others took and did not acknowledge, and removes those who hold nothing more:
-- one step, since an entry that is taken in between would go with its consumer.
-- keys: s, a; args: consumer, who takes over, group. Answers the positions whose entries are gone;
-- nil if the whole stream is.
local function claim(keys, args)
  if redis.call('EXISTS', keys[1]) == 0 then
    redis.call('SREM', keys[2], args[3])
    return nil
  end
  ensure_consumers(keys[1], args[1])
  local lost, cursor = {}, '0-0'
  repeat
    local claimed = redis.call('XAUTOCLAIM', keys[1], args[1], args[2], 0, cursor,
      'COUNT', CHUNK, 'JUSTID')
    cursor = claimed[1]
    for _, id in ipairs(claimed[3]) do
      lost[#lost + 1] = id
    end
  until cursor == '0-0'
  for _, consumer in ipairs(redis.call('XINFO', 'CONSUMERS', keys[1], args[1])) do
    local name = field(consumer, 'name')
    if name ~= args[2] and field(consumer, 'pending') == 0 then
      redis.call('XGROUP', 'DELCONSUMER', keys[1], args[1], name)
    end
  end
  return lost
end

