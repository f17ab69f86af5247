-- What drains must work in a full Redis too.
local function register(name, callback, flags)
  redis.register_function({
    function_name = name .. '_@VERSION@',
    callback = callback,
    flags = flags,
  })
end

register('append', append, {})
register('counted', counted, { 'no-writes' })
register('prepare', prepare, {})
register('open', open, {})
register('stored', stored, { 'allow-oom' })
register('ack', ack, { 'allow-oom' })
register('claim', claim, { 'allow-oom' })
register('idle', idle, { 'allow-oom' })
register('empty', empty, { 'allow-oom' })
register('beat', beat, { 'allow-oom' })
register('lease', lease, { 'allow-oom' })
register('card', card, { 'no-writes' })
register('fill', fill, {})
register('hold', hold, { 'allow-oom' })
register('let_go', let_go, { 'allow-oom' })
register('begin_mark', begin_mark, { 'allow-oom' })
register('end_mark', end_mark, { 'allow-oom' })
register('mention', mention, { 'allow-oom' })
register('mention_all', mention_all, { 'allow-oom' })
register('begin_all', begin_all, {})
register('alive', alive, { 'allow-oom' })
register('arrive', arrive, {})
register('depart', depart, { 'allow-oom' })
register('bury', bury, { 'allow-oom' })
register('online', online, { 'allow-oom' })
register('tell', tell, { 'allow-oom' })
register('suspect', suspect, { 'allow-oom' })
register('settle', settle, { 'allow-oom' })
