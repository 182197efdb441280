using System.Collections.Generic;
using System.Threading;
using System.Threading.Tasks;

namespace EdgeSlm
{
    /// <summary>The pieces of an answer's text, each computed on a thread of the pool.</summary>
    internal sealed class AsyncPieces : IAsyncEnumerator<string>
    {
        private readonly AnswerStream stream;
        private readonly CancellationToken token;
        private readonly CancellationTokenRegistration registration;
        private Task<string> pending;

        internal AsyncPieces(AnswerStream stream, CancellationToken token)
        {
            this.stream = stream;
            this.token = token;
            registration = token.Register(stream.Cancel);
        }

        public string Current { get; private set; }

        public ValueTask<bool> MoveNextAsync()
        {
            return new ValueTask<bool>(Move());
        }

        private async Task<bool> Move()
        {
            token.ThrowIfCancellationRequested();
            pending = Task.Run(() => stream.NextText());
            Current = await pending.ConfigureAwait(false);
            if (Current == null) token.ThrowIfCancellationRequested();
            return Current != null;
        }

        public ValueTask DisposeAsync()
        {
            return new ValueTask(End());
        }

        private async Task End()
        {
            registration.Dispose();
            if (pending != null && !pending.IsCompleted)
            {
                stream.Cancel();
                // What it failed with was thrown where it was awaited, if anywhere.
                await Task.WhenAny(pending).ConfigureAwait(false);
            }
            stream.Dispose();
        }
    }
}
