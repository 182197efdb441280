using System;
using System.Collections.Generic;
using System.Threading;

namespace EdgeSlm
{
    /// <summary>
    /// A conversation with a model and its KV cache: a prompt that begins as an earlier one did costs only what is new. One thread at a
    /// time may use it.
    /// </summary>
    public sealed unsafe class Session : IDisposable
    {
        private readonly NativeHandle handle;
        private readonly int vocabularySize;

        internal Session(IntPtr value, int vocabularySize)
        {
            handle = new NativeHandle(value, NativeMethods.SessionFree);
            this.vocabularySize = vocabularySize;
        }

        private delegate int OpenStream(IntPtr session, NativeMethods.GenerateOptions* options, IntPtr* stream, IntPtr* error);

        /// <summary>Answers the user's next message in the conversation that the session keeps.</summary>
        public AnswerStream Turn(string message, GenerateOptions options = null)
        {
            using (var arena = new Arena())
            {
                var text = arena.Required(message, nameof(message));
                return Open(arena, options, (IntPtr session, NativeMethods.GenerateOptions* native, IntPtr* stream, IntPtr* error) =>
                    NativeMethods.TurnStream(session, text.Data, text.Length, native, stream, error));
            }
        }

        /// <summary>Answers a whole conversation, which the model's chat template turns into a prompt.</summary>
        public AnswerStream Chat(IReadOnlyList<ChatMessage> messages, GenerateOptions options = null)
        {
            using (var arena = new Arena())
            {
                var list = (IntPtr)arena.Messages(messages);
                return Open(arena, options, (IntPtr session, NativeMethods.GenerateOptions* native, IntPtr* stream, IntPtr* error) =>
                    NativeMethods.ChatStream(session, (NativeMethods.Message*)list, (UIntPtr)messages.Count, native, stream, error));
            }
        }

        /// <summary>Answers a prompt that is taken as it is: it must not hold what a stranger wrote.</summary>
        public AnswerStream Generate(string prompt, GenerateOptions options = null)
        {
            using (var arena = new Arena())
            {
                var text = arena.Required(prompt, nameof(prompt));
                return Open(arena, options, (IntPtr session, NativeMethods.GenerateOptions* native, IntPtr* stream, IntPtr* error) =>
                    NativeMethods.StreamNew(session, text.Data, text.Length, native, stream, error));
            }
        }

        private AnswerStream Open(Arena arena, GenerateOptions options, OpenStream open)
        {
            IntPtr flag, error;
            Interop.Check(NativeMethods.CancelNew(&flag, &error), error);
            var cancel = new NativeHandle(flag, NativeMethods.CancelFree);
            try
            {
                var native = (IntPtr)(options ?? new GenerateOptions()).ToNative(arena, flag);
                var stream = WithGrammar(options, native, () => handle.Use(session =>
                {
                    IntPtr result, failure;
                    Interop.Check(open(session, (NativeMethods.GenerateOptions*)native, &result, &failure), failure);
                    return result;
                }));
                return new AnswerStream(stream, cancel);
            }
            catch
            {
                cancel.Dispose();
                throw;
            }
        }

        /// <summary>Runs a call whose options name a grammar, which stays open meanwhile.</summary>
        private static T WithGrammar<T>(GenerateOptions options, IntPtr native, Func<T> call)
        {
            if (options == null || options.Grammar == null) return call();
            return options.Grammar.Handle.Use(grammar =>
            {
                ((NativeMethods.GenerateOptions*)native)->Grammar = grammar;
                return call();
            });
        }

        /// <summary>
        /// Takes the extractor's fields out of a text and looks each value up in it. The options have no grammar.
        /// </summary>
        /// <exception cref="OperationCanceledException"><paramref name="cancellationToken"/> was cancelled.</exception>
        public Extraction Extract(Extractor extractor, string source, GenerateOptions options = null,
            CancellationToken cancellationToken = default(CancellationToken))
        {
            if (extractor == null) throw new ArgumentNullException(nameof(extractor));
            using (var arena = new Arena())
            {
                var text = arena.Required(source, nameof(source));
                var native = (IntPtr)(options ?? new GenerateOptions()).ToNative(arena, IntPtr.Zero);
                return WithGrammar(options, native, () => extractor.Handle.Use(fieldsOf => Cancellable(cancellationToken, (session, flag) =>
                {
                    NativeMethods.Str value, fields;
                    int completion;
                    IntPtr error;
                    ((NativeMethods.GenerateOptions*)native)->Cancel = flag;
                    Interop.Check(NativeMethods.Extract(session, fieldsOf, text.Data, text.Length, (NativeMethods.GenerateOptions*)native,
                        &value, &fields, &completion, &error), error);
                    var described = Interop.Take(fields);
                    return new Extraction(Interop.Take(value), described, (Completion)completion);
                })));
            }
        }

        /// <summary>Scores labels as continuations of a prompt that is taken as it is.</summary>
        /// <exception cref="OperationCanceledException"><paramref name="cancellationToken"/> was cancelled.</exception>
        public Classification Classify(string prompt, IReadOnlyList<string> labels, LabelScore score = LabelScore.Joint,
            TimeSpan? deadline = null, CancellationToken cancellationToken = default(CancellationToken))
        {
            using (var arena = new Arena())
            {
                var text = arena.Required(prompt, nameof(prompt));
                return Classify(arena, labels, score, deadline, cancellationToken,
                    (IntPtr session, NativeMethods.Str* list, NativeMethods.ClassifyOptions* options, float* probabilities, UIntPtr* best,
                        IntPtr* error) =>
                        NativeMethods.Classify(session, text.Data, text.Length, list, (UIntPtr)labels.Count, options, probabilities, best,
                            error));
            }
        }

        /// <summary>Scores labels as answers to a conversation.</summary>
        /// <exception cref="OperationCanceledException"><paramref name="cancellationToken"/> was cancelled.</exception>
        public Classification Classify(IReadOnlyList<ChatMessage> messages, IReadOnlyList<string> labels,
            LabelScore score = LabelScore.Joint, TimeSpan? deadline = null,
            CancellationToken cancellationToken = default(CancellationToken))
        {
            using (var arena = new Arena())
            {
                var conversation = (IntPtr)arena.Messages(messages);
                return Classify(arena, labels, score, deadline, cancellationToken,
                    (IntPtr session, NativeMethods.Str* list, NativeMethods.ClassifyOptions* options, float* probabilities, UIntPtr* best,
                        IntPtr* error) =>
                        NativeMethods.ChatClassify(session, (NativeMethods.Message*)conversation, (UIntPtr)messages.Count, list,
                            (UIntPtr)labels.Count, options, probabilities, best, error));
            }
        }

        private delegate int ScoreLabels(IntPtr session, NativeMethods.Str* labels, NativeMethods.ClassifyOptions* options,
            float* probabilities, UIntPtr* best, IntPtr* error);

        private Classification Classify(Arena arena, IReadOnlyList<string> labels, LabelScore score, TimeSpan? deadline,
            CancellationToken cancellationToken, ScoreLabels function)
        {
            var options = (NativeMethods.ClassifyOptions*)arena.Zeroed(1, sizeof(NativeMethods.ClassifyOptions));
            IntPtr error;
            Interop.Check(NativeMethods.ClassifyOptionsInit(options, (UIntPtr)sizeof(NativeMethods.ClassifyOptions), &error), error);
            options->Score = (int)score;
            options->DeadlineMs = Interop.Milliseconds(deadline);
            var pointers = (Labels: (IntPtr)arena.Texts(labels, nameof(labels)), Options: (IntPtr)options,
                Probabilities: (IntPtr)arena.Zeroed(labels.Count, sizeof(float)));
            var index = Cancellable(cancellationToken, (session, flag) =>
            {
                UIntPtr best;
                IntPtr failure;
                ((NativeMethods.ClassifyOptions*)pointers.Options)->Cancel = flag;
                Interop.Check(function(session, (NativeMethods.Str*)pointers.Labels, (NativeMethods.ClassifyOptions*)pointers.Options,
                    (float*)pointers.Probabilities, &best, &failure), failure);
                return checked((int)best);
            });
            var probabilities = new float[labels.Count];
            for (var i = 0; i < probabilities.Length; i++) probabilities[i] = ((float*)pointers.Probabilities)[i];
            return new Classification(labels[index], index, probabilities);
        }

        /// <summary>Decides for the class of a prompt that is taken as it is, by a calibration for this form of prompt.</summary>
        /// <exception cref="OperationCanceledException"><paramref name="cancellationToken"/> was cancelled.</exception>
        public Decision Decide(string prompt, Calibration calibration, TimeSpan? deadline = null,
            CancellationToken cancellationToken = default(CancellationToken))
        {
            using (var arena = new Arena())
            {
                var text = arena.Required(prompt, nameof(prompt));
                return Decide(arena, calibration, deadline, cancellationToken,
                    (IntPtr session, IntPtr native, NativeMethods.ClassifyOptions* options, NativeMethods.Decision* decision,
                        float* probabilities, IntPtr* error) =>
                        NativeMethods.Decide(session, text.Data, text.Length, native, options, decision,
                            (UIntPtr)sizeof(NativeMethods.Decision), probabilities, error));
            }
        }

        /// <summary>Decides for the class of a conversation.</summary>
        /// <exception cref="OperationCanceledException"><paramref name="cancellationToken"/> was cancelled.</exception>
        public Decision Decide(IReadOnlyList<ChatMessage> messages, Calibration calibration, TimeSpan? deadline = null,
            CancellationToken cancellationToken = default(CancellationToken))
        {
            using (var arena = new Arena())
            {
                var conversation = (IntPtr)arena.Messages(messages);
                return Decide(arena, calibration, deadline, cancellationToken,
                    (IntPtr session, IntPtr native, NativeMethods.ClassifyOptions* options, NativeMethods.Decision* decision,
                        float* probabilities, IntPtr* error) =>
                        NativeMethods.ChatDecide(session, (NativeMethods.Message*)conversation, (UIntPtr)messages.Count, native, options,
                            decision, (UIntPtr)sizeof(NativeMethods.Decision), probabilities, error));
            }
        }

        private delegate int DecideClass(IntPtr session, IntPtr calibration, NativeMethods.ClassifyOptions* options,
            NativeMethods.Decision* decision, float* probabilities, IntPtr* error);

        private Decision Decide(Arena arena, Calibration calibration, TimeSpan? deadline, CancellationToken cancellationToken,
            DecideClass function)
        {
            if (calibration == null) throw new ArgumentNullException(nameof(calibration));
            var options = (NativeMethods.ClassifyOptions*)arena.Zeroed(1, sizeof(NativeMethods.ClassifyOptions));
            IntPtr error;
            Interop.Check(NativeMethods.ClassifyOptionsInit(options, (UIntPtr)sizeof(NativeMethods.ClassifyOptions), &error), error);
            options->DeadlineMs = Interop.Milliseconds(deadline);
            var count = calibration.Classes.Count;
            var pointers = (Options: (IntPtr)options, Probabilities: (IntPtr)arena.Zeroed(count, sizeof(float)));
            var found = Cancellable(cancellationToken, (session, flag) => calibration.Use(native =>
            {
                NativeMethods.Decision decision;
                IntPtr failure;
                ((NativeMethods.ClassifyOptions*)pointers.Options)->Cancel = flag;
                Interop.Check(function(session, native, (NativeMethods.ClassifyOptions*)pointers.Options, &decision,
                    (float*)pointers.Probabilities, &failure), failure);
                return decision;
            }));
            var probabilities = new float[count];
            for (var i = 0; i < count; i++) probabilities[i] = ((float*)pointers.Probabilities)[i];
            var index = checked((int)found.ClassIndex);
            return new Decision(calibration.Classes[index], index, probabilities, found.Abstain != 0);
        }

        internal T Cancellable<T>(CancellationToken cancellationToken, Func<IntPtr, IntPtr, T> call)
        {
            using (var cancel = new CancelFlag(cancellationToken))
            {
                return cancel.Use(flag => handle.Use(session => call(session, flag)));
            }
        }

        /// <summary>The logits after each of the last <paramref name="last"/> tokens, row by row.</summary>
        /// <exception cref="OperationCanceledException"><paramref name="cancellationToken"/> was cancelled.</exception>
        public float[] Logits(IReadOnlyList<uint> tokens, int last = 1,
            CancellationToken cancellationToken = default(CancellationToken))
        {
            if (tokens == null) throw new ArgumentNullException(nameof(tokens));
            if (last < 1 || last > tokens.Count) throw new ArgumentOutOfRangeException(nameof(last));
            var rows = new float[checked(last * vocabularySize)];
            using (var arena = new Arena())
            {
                var list = (IntPtr)arena.Tokens(tokens, nameof(tokens));
                Cancellable(cancellationToken, (session, flag) =>
                {
                    IntPtr error;
                    fixed (float* logits = rows)
                    {
                        Interop.Check(NativeMethods.SessionLogits(session, (uint*)list, (UIntPtr)tokens.Count, (UIntPtr)last, flag,
                            logits, (UIntPtr)rows.Length, &error), error);
                    }
                    return 0;
                });
            }
            return rows;
        }

        /// <summary>The conversation that the session keeps, as a JSON array of objects with role and content.</summary>
        public string History => handle.Use(session =>
        {
            NativeMethods.Str messages;
            IntPtr error;
            Interop.Check(NativeMethods.SessionHistory(session, &messages, &error), error);
            return Interop.Take(messages);
        });

        /// <summary>Replaces the conversation that the session keeps.</summary>
        public void SetHistory(IReadOnlyList<ChatMessage> messages)
        {
            using (var arena = new Arena())
            {
                var list = (IntPtr)arena.Messages(messages);
                handle.Use(session =>
                {
                    IntPtr error;
                    Interop.Check(NativeMethods.SessionSetHistory(session, (NativeMethods.Message*)list, (UIntPtr)messages.Count, &error),
                        error);
                    return 0;
                });
            }
        }

        /// <summary>Begins a new conversation; what is forgotten is overwritten in memory.</summary>
        public void Reset()
        {
            handle.Use(session =>
            {
                IntPtr error;
                Interop.Check(NativeMethods.SessionReset(session, &error), error);
                return 0;
            });
        }

        /// <summary>Forgets the cached tokens from position <paramref name="length"/> on.</summary>
        public void Rewind(ulong length)
        {
            handle.Use(session =>
            {
                IntPtr error;
                Interop.Check(NativeMethods.SessionRewind(session, length, &error), error);
                return 0;
            });
        }

        /// <summary>How many tokens are in the KV cache.</summary>
        public ulong Length => handle.Use(session =>
        {
            ulong length;
            IntPtr error;
            Interop.Check(NativeMethods.SessionLength(session, &length, &error), error);
            return length;
        });

        /// <summary>Counts and times of the last answer.</summary>
        public AnswerStatistics Statistics => handle.Use(session =>
        {
            NativeMethods.Statistics statistics;
            IntPtr error;
            Interop.Check(NativeMethods.SessionStatistics(session, &statistics, (UIntPtr)sizeof(NativeMethods.Statistics), &error), error);
            return new AnswerStatistics(statistics);
        });

        /// <summary>Frees the session. A stream on it goes on and keeps what it needs.</summary>
        public void Dispose()
        {
            handle.Dispose();
        }
    }
}
