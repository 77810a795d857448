"""How the cost of a step grows: with requests, context, queue, engines, streams, clients."""
