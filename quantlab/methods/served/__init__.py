"""Models that another program serves over the API of OpenAI, as columns: `openai:http://HOST:PORT/v1#MODEL`.

vLLM, the server of llama.cpp, Ollama, LM Studio and SGLang speak it. Nothing is loaded here, and a server tells neither
bytes nor the probabilities of all tokens: what cannot be had is said to be missing (`records.served`).
"""

from quantlab.methods.served.address import METHOD, PREFIX, Server, is_served, precision, read

__all__ = ["METHOD", "PREFIX", "Server", "is_served", "precision", "read"]
