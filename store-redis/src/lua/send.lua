-- KEYS: slices under a name for the time being. ARGV: after how many seconds they are removed, the number of the first one, the
-- slices.
for i = 3, #ARGV do call('HSET', KEYS[13], text(ARGV[2] + i - 3), ARGV[i]) end
call('EXPIRE', KEYS[13], ARGV[1])
return 1
