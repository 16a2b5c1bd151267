-- ARGV: the part's name. Returns what is known of it.
return call('HGET', parts, ARGV[1])
