using System;
using System.Threading;

namespace EdgeSlm
{
    /// <summary>A flag of the library that ends a call when a token is cancelled.</summary>
    internal sealed unsafe class CancelFlag : IDisposable
    {
        private readonly CancellationToken token;
        private readonly NativeHandle handle;
        private readonly CancellationTokenRegistration registration;

        internal CancelFlag(CancellationToken token)
        {
            token.ThrowIfCancellationRequested();
            this.token = token;
            IntPtr flag, error;
            Interop.Check(NativeMethods.CancelNew(&flag, &error), error);
            handle = new NativeHandle(flag, NativeMethods.CancelFree);
            registration = token.Register(Signal);
        }

        private void Signal()
        {
            handle.Use(flag =>
            {
                NativeMethods.CancelSignal(flag);
                return 0;
            });
        }

        /// <summary>Runs a call with the flag.</summary>
        internal T Use<T>(Func<IntPtr, T> call)
        {
            try
            {
                return handle.Use(call);
            }
            catch (SlmException exception) when (exception.Status == SlmStatus.Cancelled && token.IsCancellationRequested)
            {
                throw new OperationCanceledException(exception.Message, exception, token);
            }
        }

        public void Dispose()
        {
            // Waits for a signal that is being given.
            registration.Dispose();
            handle.Dispose();
        }
    }
}
