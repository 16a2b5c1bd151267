-- ARGV: replica, epoch.
local h = call('HMGET', ledger, 'epoch', 'replica')
if h[2] == ARGV[1] and h[1] == ARGV[2] then
    call('HSET', ledger, 'epoch', text(h[1] + 1))
    call('HDEL', ledger, 'replica', 'name', 'until')
    tell()
end
return 1
