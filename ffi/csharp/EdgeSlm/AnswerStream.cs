using System;
using System.Collections;
using System.Collections.Generic;
using System.Text;
using System.Threading;

namespace EdgeSlm
{
    /// <summary>
    /// An answer as it is made: the pieces of its text, for <c>foreach</c> and for <c>await foreach</c>. The session is in use until the
    /// stream is disposed, which its end does too.
    /// </summary>
    public sealed unsafe class AnswerStream : IEnumerable<string>, IAsyncEnumerable<string>, IDisposable
    {
        private readonly NativeHandle handle;
        private readonly NativeHandle cancel;

        internal AnswerStream(IntPtr value, NativeHandle cancel)
        {
            handle = new NativeHandle(value, NativeMethods.StreamFree);
            this.cancel = cancel;
        }

        /// <summary>How the answer ended: its last event; null before.</summary>
        public AnswerEvent Finished { get; private set; }

        /// <summary>The next event; null after the last.</summary>
        /// <exception cref="SlmException">The answer failed.</exception>
        /// <exception cref="ObjectDisposedException">The stream was disposed before its end.</exception>
        public AnswerEvent Next()
        {
            if (Finished != null) return null;
            var next = handle.Use(stream =>
            {
                NativeMethods.Event* source;
                IntPtr error;
                Interop.Check(NativeMethods.StreamNext(stream, &source, &error), error);
                return source == null ? null : new AnswerEvent(source);
            });
            if (next != null && next.Kind == AnswerEventKind.Finished)
            {
                Finished = next;
                Dispose();
            }
            return next;
        }

        /// <summary>The next piece of text; null at the end.</summary>
        public string NextText()
        {
            for (var next = Next(); next != null; next = Next())
            {
                if (next.Kind == AnswerEventKind.Text) return next.Text;
            }
            return null;
        }

        /// <summary>The rest of the answer's text.</summary>
        public string ReadToEnd()
        {
            var text = new StringBuilder();
            foreach (var piece in this) text.Append(piece);
            return text.ToString();
        }

        /// <summary>Ends the answer soon, from any thread; it then finishes as cancelled.</summary>
        public void Cancel()
        {
            try
            {
                cancel.Use(flag =>
                {
                    NativeMethods.CancelSignal(flag);
                    return 0;
                });
            }
            catch (ObjectDisposedException)
            {
                // The answer has ended already.
            }
        }

        /// <summary>Ends the answer where it is. The session can be used again.</summary>
        public void Dispose()
        {
            handle.Dispose();
            cancel.Dispose();
        }

        /// <summary>The pieces of text from here on.</summary>
        public IEnumerator<string> GetEnumerator()
        {
            return new Pieces(this);
        }

        IEnumerator IEnumerable.GetEnumerator()
        {
            return GetEnumerator();
        }

        /// <summary>
        /// The pieces of text from here on, computed on a thread of the pool. Cancelling <paramref name="cancellationToken"/> ends the
        /// answer and throws <see cref="OperationCanceledException"/>.
        /// </summary>
        public IAsyncEnumerator<string> GetAsyncEnumerator(CancellationToken cancellationToken = default(CancellationToken))
        {
            return new AsyncPieces(this, cancellationToken);
        }

        private sealed class Pieces : IEnumerator<string>
        {
            private readonly AnswerStream stream;

            internal Pieces(AnswerStream stream)
            {
                this.stream = stream;
            }

            public string Current { get; private set; }

            object IEnumerator.Current => Current;

            public bool MoveNext()
            {
                Current = stream.NextText();
                return Current != null;
            }

            public void Reset()
            {
                throw new NotSupportedException();
            }

            public void Dispose()
            {
                // Leaving a loop early ends the answer.
                stream.Dispose();
            }
        }
    }
}
