using System;
using System.Collections.Generic;
using System.Runtime.InteropServices;
using System.Text;
using System.Threading;

namespace EdgeSlm
{
    /// <summary>Texts and failures of the library.</summary>
    internal static unsafe class Interop
    {
        static Interop()
        {
            var found = NativeMethods.LibraryAbiVersion();
            if (found != NativeMethods.AbiVersion)
            {
                throw new DllNotFoundException("the native library edgeslm has version " + found + " of the ABI, and this assembly needs "
                    + NativeMethods.AbiVersion);
            }
        }

        internal static string Text(NativeMethods.Str text)
        {
            return text.Length == UIntPtr.Zero ? "" : Encoding.UTF8.GetString(text.Data, checked((int)text.Length));
        }

        internal static string Text(byte* text)
        {
            var length = 0;
            while (text[length] != 0) length++;
            return Encoding.UTF8.GetString(text, length);
        }

        /// <summary>Throws what a call stored in <paramref name="error"/>, if it failed.</summary>
        internal static void Check(int status, IntPtr error)
        {
            if (status == NativeMethods.Ok) return;
            SlmException exception;
            try
            {
                var reason = Text(NativeMethods.ErrorMessage(error));
                if (reason.Length == 0) reason = Text(NativeMethods.StatusName(status));
                exception = new SlmException((SlmStatus)status, reason, Text(NativeMethods.ErrorFile(error)),
                    Text(NativeMethods.ErrorPlace(error)), Text(NativeMethods.ErrorHint(error)));
            }
            finally
            {
                NativeMethods.ErrorFree(error);
            }
            throw exception;
        }

        /// <summary>Takes an owned text of the library.</summary>
        internal static string Take(NativeMethods.Str owned)
        {
            try
            {
                return Text(owned);
            }
            finally
            {
                NativeMethods.StringFree(&owned);
            }
        }

        internal static ulong Milliseconds(TimeSpan? deadline)
        {
            if (!deadline.HasValue || deadline.Value == Timeout.InfiniteTimeSpan) return 0;
            // 0 would mean no limit.
            return (ulong)Math.Max(1, deadline.Value.TotalMilliseconds);
        }
    }

    /// <summary>Native memory that lives for one call, and is overwritten behind it.</summary>
    internal sealed unsafe class Arena : IDisposable
    {
        private readonly List<(IntPtr Address, int Bytes)> blocks = new List<(IntPtr Address, int Bytes)>();

        public void Dispose()
        {
            foreach (var block in blocks)
            {
                Clear(block.Address, block.Bytes);
                Marshal.FreeHGlobal(block.Address);
            }
            blocks.Clear();
        }

        private static void Clear(IntPtr address, int bytes)
        {
            for (var i = 0; i < bytes; i++) ((byte*)address)[i] = 0;
        }

        /// <summary>Zeroed memory for <paramref name="count"/> elements of <paramref name="size"/> bytes, and at least one.</summary>
        internal void* Zeroed(int count, int size)
        {
            var bytes = checked(Math.Max(1, count) * size);
            var block = Marshal.AllocHGlobal(bytes);
            blocks.Add((block, bytes));
            Clear(block, bytes);
            return (void*)block;
        }

        /// <summary>A text that has to be there.</summary>
        internal NativeMethods.Str Required(string text, string name)
        {
            return Text(text ?? throw new ArgumentNullException(name));
        }

        /// <summary>A text; null is an empty one.</summary>
        internal NativeMethods.Str Text(string text)
        {
            var encoded = Encoding.UTF8.GetBytes(text ?? "");
            var data = (byte*)Zeroed(encoded.Length, sizeof(byte));
            Marshal.Copy(encoded, 0, (IntPtr)data, encoded.Length);
            return new NativeMethods.Str { Data = data, Length = (UIntPtr)encoded.Length };
        }

        internal NativeMethods.Str* Texts(IReadOnlyList<string> texts, string name)
        {
            if (texts == null) throw new ArgumentNullException(name);
            var list = (NativeMethods.Str*)Zeroed(texts.Count, sizeof(NativeMethods.Str));
            for (var i = 0; i < texts.Count; i++) list[i] = Required(texts[i], name);
            return list;
        }

        internal NativeMethods.Message* Messages(IReadOnlyList<ChatMessage> messages)
        {
            if (messages == null) throw new ArgumentNullException(nameof(messages));
            var list = (NativeMethods.Message*)Zeroed(messages.Count, sizeof(NativeMethods.Message));
            for (var i = 0; i < messages.Count; i++)
            {
                var message = messages[i] ?? throw new ArgumentNullException(nameof(messages));
                list[i].Role = Text(message.Role);
                list[i].Content = Text(message.Content);
            }
            return list;
        }

        internal uint* Tokens(IReadOnlyList<uint> tokens, string name)
        {
            if (tokens == null) throw new ArgumentNullException(name);
            var list = (uint*)Zeroed(tokens.Count, sizeof(uint));
            for (var i = 0; i < tokens.Count; i++) list[i] = tokens[i];
            return list;
        }
    }

    internal delegate void FreeHandle(IntPtr handle);

    /// <summary>A handle of the library, kept while a call uses it.</summary>
    internal sealed class NativeHandle : SafeHandle
    {
        private readonly FreeHandle free;

        internal NativeHandle(IntPtr value, FreeHandle free) : base(IntPtr.Zero, true)
        {
            this.free = free;
            SetHandle(value);
        }

        public override bool IsInvalid => handle == IntPtr.Zero;

        protected override bool ReleaseHandle()
        {
            free(handle);
            return true;
        }

        /// <summary>Runs a call with the handle's value, which stays valid meanwhile.</summary>
        internal T Use<T>(Func<IntPtr, T> call)
        {
            var added = false;
            try
            {
                DangerousAddRef(ref added);
                return call(DangerousGetHandle());
            }
            finally
            {
                if (added) DangerousRelease();
            }
        }
    }
}
