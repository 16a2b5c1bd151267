-- ARGV: for whom there may be answers (or nothing). Returns epoch, position, the last letter that waits, and whether there are any.
local h = call('HMGET', ledger, 'epoch', 'position')
local waits = ARGV[1] ~= '' and call('ZLEXCOUNT', answered, '[' .. ARGV[1], '[' .. ARGV[1] .. '~') or 0
return { h[1], h[2], call('ZREVRANGE', inbox, 0, 0)[1] or '0', waits }
