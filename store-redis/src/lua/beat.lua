-- ARGV: replica, what it says, how many there may be.
if call('HEXISTS', beats, ARGV[1]) == 0 and call('HLEN', beats) >= tonumber(ARGV[3]) then return 0 end
call('HSET', beats, ARGV[1], ARGV[2])
call('ZADD', beaten, text(now()), ARGV[1])
return 1
